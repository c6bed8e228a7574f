// Use after, during and twice: typed errors, one answer, no deadlock.
import assert from "node:assert/strict";

export default async ({ NodeRuntime }) => {
  const disposed = async (promise) => {
    const settled = await promise.then((value) => value.reason ?? value, (error) => error.code);
    assert.ok(["disposed", "ERR_RUNTIME_DISPOSED"].includes(settled), String(settled));
  };
  for (const wait of [0, 1, 5, 20]) {
    const runtime = await NodeRuntime.create({ cpuTimeLimitMs: 2000 });
    const running = [runtime.exec("for (;;);"), runtime.run("module.exports = new Promise(() => {}); setInterval(() => {}, 1000)"), runtime.exec("await new Promise((r) => setTimeout(r, 1e6))")];
    await new Promise((resolve) => setTimeout(resolve, wait));
    const first = runtime.dispose();
    const second = runtime.terminate();
    const third = runtime.dispose();
    await Promise.all([first, second, third]);
    for (const one of running) await disposed(one);
    await disposed(runtime.exec("1"));
    await disposed(runtime.run("1"));
    await disposed(runtime.spawn("1"));
    await disposed(Promise.resolve().then(() => runtime.fetch(80)));
    await disposed(Promise.resolve().then(() => runtime.fs.readFile("/etc/passwd")));
    await runtime.dispose();
  }
  const runtimes = await Promise.all(Array.from({ length: 12 }, () => NodeRuntime.create({ cpuTimeLimitMs: 100, wallTimeLimitMs: 20_000 })));
  const results = await Promise.all(runtimes.map((runtime) => runtime.exec("for (;;);")));
  assert.deepEqual(new Set(results.map((result) => result.reason)), new Set(["cpu"]));
  await Promise.all(runtimes.map((runtime) => runtime.dispose()));
};
