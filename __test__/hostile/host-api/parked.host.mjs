// Guests in builtins that V8 cannot interrupt: their threads use no CPU, and their number is bounded by an option.
export default async function ({ NodeRuntime, SecureExecError }) {
  const limits = { memoryLimit: 32, cpuTimeLimitMs: 30, wallTimeLimitMs: 10_000 };
  const runtime = await NodeRuntime.create({ ...limits, resourceBudgets: { maxParkedThreads: 2 } });
  for (let i = 0; i < 2; i++) {
    const { reason } = await runtime.exec("Array.prototype.indexOf.call({ length: 2 ** 53 - 1 }, 1)");
    if (reason !== "cpu") throw new Error(`ended by ${reason}`);
  }
  await new Promise((resolve) => setTimeout(resolve, 2500));
  const before = process.cpuUsage();
  await new Promise((resolve) => setTimeout(resolve, 500));
  const { user, system } = process.cpuUsage(before);
  if (user + system > 150_000) throw new Error(`parked threads use CPU: ${user + system} us in half a second`);
  const refused = await runtime.exec("1").then((result) => result, (error) => error);
  const { code, message } = refused;
  if (!(refused instanceof SecureExecError) || code !== "ERR_RESOURCE_BUDGET_EXCEEDED" || !message.includes("resourceBudgets.maxParkedThreads")) {
    throw new Error(`not refused: ${code} ${message} ${JSON.stringify(refused)}`);
  }
  await runtime.dispose();

  // A guest that borrowed the memory for its end and was stopped with it: the next one can borrow it too, and ends by itself.
  const next = await NodeRuntime.create({ ...limits, cpuTimeLimitMs: 20_000, resourceBudgets: { maxParkedThreads: 4 } });
  const borrower = await next.exec("Array.from({ length: 2 ** 32 - 1 }, Object)");
  if (borrower.reason !== "memory") throw new Error(`the borrower ended by ${borrower.reason}`);
  await new Promise((resolve) => setTimeout(resolve, 4000));
  const second = await next.exec("const a = []; for (;;) a.push({ a })");
  if (second.reason !== "memory") throw new Error(`the second one ended by ${second.reason}`);
  await new Promise((resolve) => setTimeout(resolve, 500));
  const third = await next.exec("console.log('fine')");
  if (third.stdout !== "fine\n") throw new Error(`the third one: ${third.reason}`);
  await next.dispose();
}
