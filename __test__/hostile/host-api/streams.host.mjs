// Streams of a process: floods on either side, readers that stop, a host that leaves in the middle.
import assert from "node:assert/strict";

export default async ({ NodeRuntime }) => {
  const runtime = await NodeRuntime.create({ memoryLimit: 64, cpuTimeLimitMs: 600, wallTimeLimitMs: 4000 });
  const before = process.memoryUsage.rss();
  const unread = await runtime.spawn("for (;;) process.stdout.write('x'.repeat(1e5))");
  assert.ok(["cpu", "wall", "error", "memory"].includes((await unread.wait()).reason));

  const deaf = await runtime.spawn("setTimeout(() => {}, 500)");
  for (let i = 0; i < 50; i++) deaf.stdin.write(new Uint8Array(1 << 20));
  deaf.kill();
  await deaf.wait();

  const fed = await runtime.spawn("let n = 0; process.stdin.on('data', (d) => (n += d.length)).on('end', () => console.log(n))");
  const chunk = new Uint8Array(1 << 20);
  for (let i = 0; i < 20; i++) await fed.stdin.write(chunk);
  await fed.stdin.end();
  assert.ok(["exit", "cpu"].includes((await fed.wait()).reason));

  const left = await runtime.spawn("setInterval(() => console.log('x'.repeat(1000)), 1)");
  for await (const _ of left.stdout) break;
  for (const signal of ["SIGTERM", "SIGKILL", 0, "SIGNOPE", -5, 1e9, {}]) {
    try {
      left.kill(signal);
    } catch (error) {
      assert.ok(error instanceof Error);
    }
  }
  const [one, two] = await Promise.all([left.wait(), left.wait()]);
  assert.deepEqual(one, two);
  left.kill();
  assert.ok(process.memoryUsage.rss() - before < 400 * 2 ** 20, "the host grew");

  const hooked = await NodeRuntime.create({ cpuTimeLimitMs: 500, onStdio: () => { throw new Error("hook"); } });
  const { reason } = await hooked.exec("for (let i = 0; i < 100; i++) console.log(i)");
  assert.ok(["exit", "error"].includes(reason), reason);
  await hooked.dispose();
  await runtime.dispose();
};
