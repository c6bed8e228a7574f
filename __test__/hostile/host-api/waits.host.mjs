// Threads that sleep in `Atomics.wait` for ever: whatever ends a process wakes them at once.
import assert from "node:assert/strict";

/** Most milliseconds between the end that was asked for and its coming; a busy machine takes some of them. */
const PROMPT = 250;
const ARRAY = "new Int32Array(new SharedArrayBuffer(8))";
const MEMORY = "new Int32Array(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }).buffer)";
const WORKER = (code) => `new (require('worker_threads').Worker)(${JSON.stringify(code)}, { eval: true })`;
const waits = (cells) => `Atomics.wait(${cells}, 0, 0)`;
const PROGRAMS = [
  waits(ARRAY),
  waits(MEMORY),
  WORKER(waits(ARRAY)),
  `for (let i = 0; i < 3; i++) ${WORKER(waits(ARRAY))}; ${waits(ARRAY)}`,
  `require('vm').runInNewContext("Atomics.wait(new Int32Array(new SharedArrayBuffer(8)), 0, 0)")`,
  `require('vm').runInNewContext("Atomics.wait(new Int32Array(new SharedArrayBuffer(8)), 0, 0)", {}, { timeout: 1e6 })`,
  `for (;;) Atomics.wait(${ARRAY}, 0, 0, 1)`,
  `process.on('exit', () => ${waits(ARRAY)})`,
  `${WORKER(`process.on('exit', () => ${waits(ARRAY)}); process.exit()`)}`,
];

export default async ({ NodeRuntime }) => {
  const took = async (what, work) => {
    const started = performance.now();
    const answer = await work();
    const ms = performance.now() - started;
    assert.ok(ms < PROMPT, `${what} took ${Math.round(ms)} ms`);
    return answer;
  };
  const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  for (const program of PROGRAMS) {
    const runtime = await NodeRuntime.create({ timingMitigation: "off", wallTimeLimitMs: 300 });
    const started = performance.now();
    const { reason } = await runtime.exec(program);
    assert.equal(reason, "wall", program);
    assert.ok(performance.now() - started < 300 + PROMPT, `the wall clock: ${program}`);
    await took(`dispose after ${program}`, () => runtime.dispose());
  }
  for (const program of PROGRAMS) {
    const runtime = await NodeRuntime.create({ timingMitigation: "off" });
    const controller = new AbortController();
    const running = runtime.exec(program, { signal: controller.signal });
    await sleep(120);
    controller.abort();
    assert.equal((await took(`abort of ${program}`, () => running)).reason, "aborted", program);
    const left = runtime.exec(program);
    await sleep(120);
    await took(`dispose of ${program}`, () => runtime.dispose());
    await took(`end of ${program}`, () => left.catch(() => {}));
  }
  // Within the guest: a worker that waits is ended, a process that others wait in exits, a wait is over by itself.
  const runtime = await NodeRuntime.create({ timingMitigation: "off", wallTimeLimitMs: 5000 });
  const ended = await runtime.exec(`
    const worker = ${WORKER(waits(ARRAY))};
    worker.on('online', () => setTimeout(async () => {
      const started = performance.now();
      await worker.terminate();
      console.log(performance.now() - started < ${PROMPT});
      for (let i = 0; i < 3; i++) ${WORKER(waits(ARRAY))};
      setTimeout(() => process.exit(7), 100);
    }, 50))`);
  assert.deepEqual([ended.reason, ended.code, ended.stdout], ["exit", 7, "true\n"]);
  const memory = await NodeRuntime.create({ timingMitigation: "off", wallTimeLimitMs: 10_000, memoryLimit: 32 });
  const full = await memory.exec(`for (let i = 0; i < 3; i++) ${WORKER(waits(ARRAY))}; setTimeout(() => { const a = []; for (;;) a.push(new Array(1e4).fill(0.5)) }, 100)`);
  assert.equal(full.reason, "memory");
  await runtime.dispose();
  await memory.dispose();
};
