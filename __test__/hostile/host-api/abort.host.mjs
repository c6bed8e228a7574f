// AbortSignal before, during and after: exactly one answer.
import assert from "node:assert/strict";

export default async ({ NodeRuntime }) => {
  const runtime = await NodeRuntime.create({ cpuTimeLimitMs: 3000 });
  assert.equal((await runtime.exec("console.log(1)", { signal: AbortSignal.abort() })).reason, "aborted");
  for (const wait of [0, 0, 1, 2, 5, 10]) {
    const controller = new AbortController();
    const running = runtime.exec("for (;;);", { signal: controller.signal });
    setTimeout(() => controller.abort(new Error("enough")), wait);
    assert.equal((await running).reason, "aborted");
    controller.abort();
  }
  const late = new AbortController();
  assert.equal((await runtime.exec("1", { signal: late.signal })).reason, "exit");
  late.abort();
  for (let i = 0; i < 30; i++) {
    const racing = new AbortController();
    const running = runtime.exec("1", { signal: racing.signal });
    setTimeout(() => racing.abort(), Math.random() * 6);
    assert.ok(["exit", "aborted"].includes((await running).reason));
  }
  const all = new AbortController();
  const running = Array.from({ length: 6 }, () => runtime.exec("for (;;);", { signal: all.signal }));
  setTimeout(() => all.abort(), 30);
  for (const result of await Promise.all(running)) assert.equal(result.reason, "aborted");
  await runtime.dispose();
};
