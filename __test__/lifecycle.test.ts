import { NodeRuntime } from "secure-exec";
import { describe, expect, test } from "vitest";
import { inChild, lastLine, make } from "./support.js";

const FOREVER = "setTimeout(() => {}, 1e8)";
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

describe("dispose", () => {
  test("ends what runs and refuses more", async () => {
    const runtime = await NodeRuntime.create();
    const pending = [runtime.exec(FOREVER), runtime.run(FOREVER), runtime.exec("for (;;);")];
    await sleep(30);
    await runtime.dispose();
    for (const result of await Promise.all(pending)) {
      expect(result).toMatchObject({ code: 1, reason: "disposed", errorMessage: "the runtime was disposed of" });
    }
    await expect(runtime.exec("1")).rejects.toMatchObject({ name: "SecureExecError", code: "ERR_RUNTIME_DISPOSED" });
    await expect(runtime.run("1")).rejects.toMatchObject({ code: "ERR_RUNTIME_DISPOSED" });
    await expect(runtime.createContext()).rejects.toMatchObject({ code: "ERR_RUNTIME_DISPOSED" });
  });

  test("is idempotent, in any order with terminate", async () => {
    const runtime = await NodeRuntime.create();
    await Promise.all([runtime.dispose(), runtime.dispose(), runtime.terminate()]);
    await runtime.terminate();
    await runtime[Symbol.asyncDispose]();
    expect((await runtime.stats()).processes).toBe(0);
  });

  test("right after exec", async () => {
    const runtime = await NodeRuntime.create();
    const pending = runtime.exec("console.log(1)");
    await runtime.dispose();
    expect(["exit", "disposed"]).toContain((await pending).reason);
  });

  test("before exec started", async () => {
    const runtime = await NodeRuntime.create({ signal: AbortSignal.timeout(50) });
    const result = await runtime.exec(FOREVER);
    expect(["aborted", "disposed"]).toContain(result.reason);
    await expect(runtime.exec("1")).rejects.toMatchObject({ code: "ERR_RUNTIME_DISPOSED" });
  });
});

describe("terminate", () => {
  test("ends what runs and leaves the runtime usable", async () => {
    const runtime = await make();
    const pending = [runtime.exec(FOREVER), runtime.exec("for (;;);")];
    await sleep(30);
    await runtime.terminate();
    for (const result of await Promise.all(pending)) expect(result).toMatchObject({ code: 1, reason: "aborted" });
    expect(await runtime.exec("console.log('on')")).toMatchObject({ code: 0, stdout: "on\n" });
  });
});

describe("signal", () => {
  test("before: nothing runs", async () => {
    const runtime = await make();
    const result = await runtime.exec("require('fs').writeFileSync('/tmp/ran', '')", { signal: AbortSignal.abort() });
    expect(result).toMatchObject({ reason: "aborted", code: 1, stdout: "", usage: { cpuMs: 0 } });
    expect(await runtime.exec("console.log(require('fs').existsSync('/tmp/ran'))")).toMatchObject({ stdout: "false\n" });
    await expect(NodeRuntime.create({ signal: AbortSignal.abort(new Error("mine")) })).rejects.toThrow("mine");
  });

  test("during", async () => {
    const runtime = await make();
    for (const code of [FOREVER, "for (;;);", "await new Promise(() => setInterval(() => {}, 5))"]) {
      const controller = new AbortController();
      setTimeout(() => controller.abort(), 30);
      expect(await runtime.exec(code, { signal: controller.signal })).toMatchObject({ reason: "aborted", code: 1 });
    }
  });

  test("inside a hook, and after the end", async () => {
    const runtime = await make();
    const controller = new AbortController();
    const result = await runtime.exec(`console.log(1); ${FOREVER}`, { signal: controller.signal, onStdio: () => controller.abort() });
    expect(result).toMatchObject({ reason: "aborted", stdout: "1\n" });
    const late = new AbortController();
    expect(await runtime.exec("1", { signal: late.signal })).toMatchObject({ reason: "exit" });
    late.abort();
    expect(await runtime.exec("1")).toMatchObject({ reason: "exit" });
  });
});

describe("stats", () => {
  test("count", async () => {
    const runtime = await make();
    const running = runtime.exec(FOREVER);
    await sleep(50);
    expect((await runtime.stats()).processes).toBe(1);
    await runtime.terminate();
    await running;
    await runtime.exec("require('fs').writeFileSync('/tmp/f', Buffer.alloc(5000))");
    const stats = await runtime.stats();
    expect(stats).toMatchObject({ processes: 0, completed: 2 });
    expect(stats.files.bytes).toBeGreaterThanOrEqual(5000);
    expect(stats.cpuMs).toBeGreaterThan(0);
    const server = await runtime.spawn("globalThis.kept = new ArrayBuffer(3 << 20); require('node:net').createServer().listen(1234)");
    await runtime.waitForListener({ port: 1234 });
    const now = await runtime.stats();
    expect(now.sockets).toEqual({ open: 1, connections: 0 });
    expect(now.externalBytes).toBeGreaterThan(3 << 20);
    server.kill();
    await server.wait();
    await runtime.exec("console.log('four')", { capture: false });
    expect(await runtime.stats()).toMatchObject({ sockets: { open: 0 }, externalBytes: 0, outputBytes: 5 });
  });
});

describe("the host's event loop", () => {
  test("an idle runtime does not keep the process alive", async () => {
    const child = await inChild(`
      const runtime = await NodeRuntime.create();
      await runtime.exec("1");
      const context = await runtime.createContext();
      await context.execute("1");
      console.log(JSON.stringify("done"));
    `);
    expect(lastLine(child)).toBe("done");
    expect(child.ms).toBeLessThan(20_000);
  });

  test("a pending exec does", async () => {
    const child = await inChild(`
      const runtime = await NodeRuntime.create();
      runtime.exec("setTimeout(() => console.log('late'), 300)").then(({ stdout }) => console.log(JSON.stringify(stdout)));
    `);
    expect(lastLine(child)).toBe("late\n");
  });

  test("process.exit with running guests", async () => {
    const child = await inChild(`
      const runtimes = await Promise.all(Array.from({ length: 8 }, () => NodeRuntime.create()));
      for (const runtime of runtimes) { void runtime.exec("for (;;);"); void runtime.exec("setInterval(() => {}, 1)"); }
      await sleep(200);
      process.exit(5);
    `);
    expect([child.status, child.signal]).toEqual([5, null]);
    expect(child.ms).toBeLessThan(20_000);
  });

  test("an uncaught exception of the host with running guests", async () => {
    const child = await inChild(`
      const runtime = await NodeRuntime.create();
      void runtime.exec("for (;;);");
      await sleep(100);
      throw new Error("host");
    `);
    expect([child.status, child.signal]).toEqual([1, null]);
  });

  test("no unhandled rejection when things end in the wrong order", async () => {
    const child = await inChild(`
      process.on("unhandledRejection", (error) => { console.log(JSON.stringify(String(error))); process.exit(3); });
      for (let i = 0; i < 50; i++) {
        const runtime = await NodeRuntime.create();
        void runtime.exec("setTimeout(() => {}, 1e6)");
        void runtime.run("for (;;);");
        const context = await runtime.createContext();
        void context.execute("for (;;);");
        void context.execute("1");
        if (i % 2) await sleep(1);
        void runtime.terminate();
        void context.dispose();
        void runtime.dispose();
      }
      await sleep(200);
      console.log(JSON.stringify("ok"));
    `);
    expect(lastLine(child)).toBe("ok");
  });

  test("runtimes that nobody disposed of are collected, with what runs in them", async () => {
    const child = await inChild(`
      import { setFlagsFromString } from "node:v8";
      import { runInNewContext } from "node:vm";
      import { readdirSync } from "node:fs";
      setFlagsFromString("--expose-gc");
      const gc = runInNewContext("gc");
      const threads = () => readdirSync("/proc/self/task").length;
      const first = await NodeRuntime.create();
      await first.exec("1");
      await sleep(300);
      const before = threads();
      for (let i = 0; i < 20; i++) {
        const runtime = await NodeRuntime.create();
        const context = await runtime.createContext();
        await context.execute("1");
      }
      for (let i = 0; i < 20 && threads() > before + 4; i++) { gc(); await sleep(100); }
      console.log(JSON.stringify(threads() - before));
    `);
    expect(lastLine<number>(child)).toBeLessThanOrEqual(4);
  });

  test("create, exec and dispose leave memory, threads and descriptors flat", async () => {
    const child = await inChild(
      `
      import { readdirSync } from "node:fs";
      const count = (what) => readdirSync("/proc/self/" + what).length;
      const round = async (n) => {
        for (let i = 0; i < n; i++) {
          const runtime = await NodeRuntime.create();
          const { code } = await runtime.exec("1");
          if (code !== 0) throw new Error("code " + code);
          await runtime.dispose();
        }
        await sleep(500);
        return { rss: process.memoryUsage.rss(), threads: count("task"), fds: count("fd") };
      };
      await round(100);
      const before = await round(100);
      const after = await round(300);
      console.log(JSON.stringify({ rss: after.rss - before.rss, threads: after.threads - before.threads, fds: after.fds - before.fds }));
    `,
      { timeoutMs: 55_000 },
    );
    const grown = lastLine<{ rss: number; threads: number; fds: number }>(child);
    expect(grown.rss).toBeLessThan(20e6);
    expect(grown.threads).toBeLessThanOrEqual(2);
    expect(grown.fds).toBeLessThanOrEqual(2);
  });
});
