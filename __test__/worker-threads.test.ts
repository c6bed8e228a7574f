import { readFileSync, readdirSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { make } from "./support.js";

/** Threads of workers in this process of the host. */
function threads(): number {
  const names = readdirSync("/proc/self/task").map((id) => {
    try {
      return readFileSync(`/proc/self/task/${id}/comm`, "utf8");
    } catch {
      return ""; // It has ended just now.
    }
  });
  return names.filter((name) => name.startsWith("secure-exec wor")).length;
}

/** A guest program with `wt` and a way to start a worker from a function's text. */
const program = (body: string): string => `
  const wt = require('node:worker_threads');
  const start = (body, options) => new wt.Worker(
    "const { parentPort, workerData, threadId, isMainThread } = require('node:worker_threads');" + body,
    { eval: true, ...options });
  ${body}`;

describe("worker threads", () => {
  test("messages, workerData, events in Node's order, one process", async () => {
    const runtime = await make();
    const result = await runtime.exec(program(`
      const worker = start("parentPort.once('message', (m) => parentPort.postMessage([m * workerData, threadId, isMainThread, process.pid]))",
        { workerData: 2 });
      for (const event of ['online', 'message', 'error', 'exit']) worker.on(event, (value) => console.log(event, value));
      worker.postMessage(21);
      console.log(wt.isMainThread, process.pid > 0);`));
    expect(result).toMatchObject({ code: 0 });
    const lines = (result.stdout ?? "").trimEnd().split("\n");
    expect(lines[0]).toBe("true true");
    expect(lines[1]).toBe("online undefined");
    expect(result.stdout).toContain("42");
    expect(lines.at(-1)).toBe("exit 0");
  });

  test("output goes through the parent, exit codes and errors arrive", async () => {
    const runtime = await make();
    const result = await runtime.exec(program(`
      const order = [];
      const ended = (worker) => new Promise((resolve) => worker.on('exit', resolve));
      (async () => {
        console.log(await ended(start("console.log('from the worker'); process.exit(7)")));
        const failing = start("throw Object.assign(new RangeError('no'), { code: 'E_X' })");
        failing.on('error', (error) => console.log(error instanceof RangeError, error.message, error.code));
        console.log(await ended(failing));
      })();`));
    expect(result).toMatchObject({ code: 0, stdout: "from the worker\n7\ntrue no E_X\n1\n" });
  });

  test("terminate ends a busy loop, and a worker out of memory is told", async () => {
    const runtime = await make();
    const result = await runtime.exec(program(`
      (async () => {
        const busy = start("while (1);");
        await new Promise((resolve) => busy.on('online', resolve));
        console.log(await busy.terminate());
        const hungry = start("const all = []; while (1) all.push(new Array(1e5).fill(1.5));",
          { resourceLimits: { maxOldGenerationSizeMb: 16 } });
        hungry.on('error', (error) => console.log(error.code));
        hungry.on('exit', (code) => console.log(code));
      })();`));
    expect(result).toMatchObject({ code: 0, stdout: "1\nERR_WORKER_OUT_OF_MEMORY\n1\n" });
  });

  test("ports move between threads, channels reach all of them", async () => {
    const runtime = await make();
    const result = await runtime.exec(program(`
      const { port1, port2 } = new MessageChannel();
      const bytes = new Uint8Array([1, 2, 3]);
      const worker = start(\`
        parentPort.once('message', ({ port, bytes }) => {
          const channel = new BroadcastChannel('all');
          port.postMessage(bytes.reduce((a, b) => a + b));
          channel.postMessage('heard');
          channel.close();
        });\`);
      const channel = new BroadcastChannel('all');
      channel.onmessage = ({ data }) => { console.log(data); channel.close(); };
      port1.once('message', (sum) => { console.log(sum); port1.close(); });
      worker.postMessage({ port: port2, bytes }, [port2, bytes.buffer]);
      console.log(bytes.length);`));
    expect(result.code).toBe(0);
    expect((result.stdout ?? "").trimEnd().split("\n").sort()).toEqual(["0", "6", "heard"]);
  });

  test("postMessageToThread, environment data and shared variables", async () => {
    const runtime = await make();
    const result = await runtime.exec(program(`
      wt.setEnvironmentData('key', 'value');
      process.on('workerMessage', (value, source) => console.log('message', value, source));
      const worker = start(\`
        const wt = require('node:worker_threads');
        process.env.SHARED = 'yes';
        wt.postMessageToThread(0, wt.getEnvironmentData('key')).then(() =>
          wt.postMessageToThread(99, 1).catch((error) => console.log(error.code)));
        parentPort.ref(); setTimeout(() => parentPort.unref(), 200);\`, { env: wt.SHARE_ENV });
      worker.on('exit', () => console.log(process.env.SHARED));`));
    expect(result).toMatchObject({
      code: 0,
      stdout: "message value 1\nERR_WORKER_MESSAGING_FAILED\nyes\n",
    });
  });

  test("nothing is shared that could be a clock", async () => {
    const runtime = await make();
    const result = await runtime.exec(program(`
      const text = "[typeof SharedArrayBuffer, typeof Atomics.waitAsync].join()";
      console.log(eval(text));
      start("parentPort.postMessage(" + text + ")").on('message', console.log);`));
    expect(result).toMatchObject({ code: 0, stdout: "undefined,undefined\nundefined,undefined\n" });
  });

  test("with real clocks threads wait without blocking, so many at a time as there may be timers", async () => {
    const runtime = await make({ timingMitigation: "off", resourceBudgets: { maxTimers: 20 } });
    const result = await runtime.exec(program(`
      const cells = new Int32Array(new SharedArrayBuffer(8));
      const { waitAsync } = Atomics;
      console.log(waitAsync.name, waitAsync.length, JSON.stringify(waitAsync(cells, 0, 1)),
        require('vm').runInNewContext('typeof Atomics.waitAsync'));
      try { waitAsync(new Int32Array(2), 0, 0); } catch (error) { console.log(error.name); }
      const worker = new wt.Worker(
        "const { workerData: cells } = require('worker_threads');" +
          "setTimeout(() => { Atomics.store(cells, 0, 7); Atomics.notify(cells, 0); }, 20)",
        { eval: true, workerData: cells });
      waitAsync(cells, 0, 0).value.then((end) => console.log(end, cells[0]));
      worker.on('exit', async () => {
        const keep = setInterval(() => {}, 1000);
        for (let i = 0; i < 100; i++) await waitAsync(cells, 1, 0, 1).value;
        let made = 0;
        let last;
        try { for (;;) { last = waitAsync(cells, 1, 0).value; made++; } } catch (error) { console.log(made, error.code); }
        console.log(Atomics.notify(cells, 1));
        await last;
        clearInterval(keep);
        console.log(waitAsync(cells, 1, 0).async);
      });`));
    expect(result).toMatchObject({
      code: 0,
      // Like Node's, the last of them keeps no loop alive.
      stdout:
        'waitAsync 4 {"async":false,"value":"not-equal"} function\nTypeError\nok 7\n20 ERR_RESOURCE_BUDGET_EXCEEDED\n20\ntrue\n',
    });
  });

  test("with real clocks threads share memory and wait for it", async () => {
    const runtime = await make({ timingMitigation: "off" });
    const result = await runtime.exec(program(`
      const cells = new Int32Array(new SharedArrayBuffer(8));
      const worker = new wt.Worker(
        "const { workerData: cells } = require('worker_threads'); Atomics.store(cells, 1, 5); Atomics.notify(cells, 1);" +
          "require('worker_threads').parentPort.postMessage(new SharedArrayBuffer(4)); Atomics.wait(cells, 0, 0)",
        { eval: true, workerData: cells });
      console.log(Atomics.wait(cells, 1, 0, 20_000) !== 'timed-out', cells[1], Atomics.wait(cells, 0, 0, 10));
      const memory = new WebAssembly.Memory({ shared: true, initial: 1, maximum: 2 });
      console.log(memory.buffer instanceof SharedArrayBuffer, require('vm').runInNewContext('typeof SharedArrayBuffer'),
        Object.getOwnPropertyDescriptor(globalThis, 'SharedArrayBuffer').enumerable, typeof structuredClone(cells).buffer);
      worker.on('message', async (buffer) => {
        console.log(buffer instanceof SharedArrayBuffer, buffer.byteLength);
        // It waits for ever.
        console.log(await worker.terminate());
      });`));
    expect(result).toMatchObject({
      code: 0,
      stdout: "true 5 timed-out\ntrue function false object\ntrue 4\n1\n",
      stderr: "",
    });
    // Only for who asked for real clocks.
    const frozen = await runtime.exec("console.log(typeof SharedArrayBuffer)", { timingMitigation: "freeze" });
    expect(frozen.stdout).toBe("undefined\n");
  });

  test("who waits for shared memory ends with its limits, and the memory counts", async () => {
    const runtime = await make({ timingMitigation: "off", memoryLimit: 64, wallTimeLimitMs: 300 });
    const wait = "Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)";
    expect(await runtime.exec(wait)).toMatchObject({ code: 124, reason: "wall" });
    expect(await runtime.exec(wait, { signal: AbortSignal.timeout(50), wallTimeLimitMs: 60_000 })).toMatchObject({
      reason: "aborted",
    });
    const child = await runtime.spawn(wait);
    await child.kill("SIGKILL");
    expect(await child.wait()).toMatchObject({ code: 137 });
    for (const bomb of [
      "for (const kept = []; ;) kept.push(new SharedArrayBuffer(1 << 20))",
      "for (const kept = []; ;) { const b = new SharedArrayBuffer(0, { maxByteLength: 1 << 22 }); b.grow(1 << 22); kept.push(b) }",
      "for (const kept = []; ;) kept.push(new WebAssembly.Memory({ shared: true, initial: 16, maximum: 16 }))",
      // Of threads that are gone.
      `const { Worker } = require('worker_threads'); const kept = [];
       const next = () => new Worker("require('worker_threads').parentPort.postMessage(new SharedArrayBuffer(16 << 20))", { eval: true })
         .on('message', (buffer) => kept.push(buffer)).on('exit', next).on('error', (error) => { throw error });
       next()`,
    ]) {
      const result = await runtime.exec(bomb, { wallTimeLimitMs: 60_000 });
      expect(result.code, `${bomb}: ${JSON.stringify(result)}`).not.toBe(0);
      expect(["memory", "error"], bomb).toContain(result.reason);
    }
    // What is not held any more is given back.
    const result = await runtime.exec("for (let i = 0; i < 500; i++) new SharedArrayBuffer(1 << 20); console.log('on')", { wallTimeLimitMs: 60_000 });
    expect(result).toMatchObject({ code: 0, stdout: "on\n" });
  });

  test("workers end with their process and count against its limits", async () => {
    const runtime = await make({ cpuTimeLimitMs: 400, wallTimeLimitMs: 60_000 });
    const busy = await runtime.exec(program("start('while (1);'); setInterval(() => {}, 1000);"));
    expect(busy).toMatchObject({ code: 124, reason: "cpu" });
    const few = await make({ resourceBudgets: { maxChildProcesses: 2 } });
    const result = await few.exec(program(`
      const workers = [start("setInterval(() => {}, 1000)"), start("setInterval(() => {}, 1000)")];
      try { start(''); } catch (error) { console.log(error.code); }
      process.exit(0);`));
    expect(result).toMatchObject({ code: 0, stdout: "ERR_WORKER_INIT_FAILED\n" });
    // A place is free when its thread has gone.
    await expect.poll(async () => {
      const again = await few.exec(program("start('parentPort.postMessage(1)').on('message', console.log)"));
      return again.stdout;
    }, { timeout: 20_000 }).toBe("1\n");
  });

  test.runIf(process.platform === "linux")("workers that are killed leave no thread", async () => {
    const runtime = await make({ cpuTimeLimitMs: 2000, wallTimeLimitMs: 120_000 });
    const result = await runtime.exec(program(`
      for (let i = 0; i < 12; i++) start(i % 2 ? "while (1);" : "setInterval(() => {}, 1000)");
      setInterval(() => {}, 1000);`));
    expect(result).toMatchObject({ reason: "cpu" });
    await expect.poll(threads, { timeout: 20_000 }).toBe(0);
  }, 150_000);

  test("keys, files and nested workers", async () => {
    const runtime = await make();
    const result = await runtime.exec(program(`
      const { createSecretKey } = require('node:crypto');
      const fs = require('node:fs/promises');
      (async () => {
        await fs.writeFile('/tmp/a.txt', 'text');
        const file = await fs.open('/tmp/a.txt');
        const worker = start(\`
          const { key, file } = workerData;
          const inner = new (require('node:worker_threads').Worker)("process.exit(5)", { eval: true });
          inner.on('exit', async (code) => {
            parentPort.postMessage([key.export().toString(), (await file.readFile()).toString(), code, inner.threadId]);
            await file.close();
          });\`, { workerData: { key: createSecretKey(Buffer.from('secret')), file }, transferList: [file] });
        worker.on('message', (message) => console.log(message.join()));
      })();`));
    expect(result).toMatchObject({ code: 0, stdout: "secret,text,5,-1\n" });
  });

  test("hooks of node:module run on a thread of their own", async () => {
    const runtime = await make();
    const result = await runtime.exec(`
      import { register } from 'node:module';
      register('data:text/javascript,' + encodeURIComponent(\`
        export async function resolve(specifier, context, next) {
          return specifier === 'virtual:x' ? { url: 'virtual:x', shortCircuit: true } : next(specifier, context);
        }
        export async function load(url, context, next) {
          return url === 'virtual:x' ? { format: 'module', source: 'export default 42', shortCircuit: true } : next(url, context);
        }\`));
      console.log((await import('virtual:x')).default);`, { filePath: "/workspace/main.mjs" });
    expect(result).toMatchObject({ code: 0, stdout: "42\n" });
  });
});
