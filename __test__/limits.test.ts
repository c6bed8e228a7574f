import { describe, expect, test } from "vitest";
import { inChild, lastLine, make } from "./support.js";

interface Ended {
  reason: string;
  code: number;
  errorMessage?: string;
  ms: number;
  after: string;
  neighbour: string;
}

/** Runs hostile code in a host of its own, and then, in the same runtime and beside it, harmless code. */
async function hostile(code: string, create: object, exec: object = {}): Promise<Ended> {
  const child = await inChild(`
    const runtime = await NodeRuntime.create(${JSON.stringify(create)});
    const other = await NodeRuntime.create();
    await runtime.exec("1");
    const beside = other.exec("setTimeout(() => console.log('fine'), 200)");
    const started = performance.now();
    const { reason, code, errorMessage } = await runtime.exec(${JSON.stringify(code)}, ${JSON.stringify(exec)});
    const ms = performance.now() - started;
    const { stdout } = await runtime.exec("console.log(6 * 7)");
    console.log(JSON.stringify({ reason, code, errorMessage, ms, after: stdout, neighbour: (await beside).stdout }));
    process.exit(0);
  `);
  return lastLine<Ended>(child);
}

describe("CPU time", () => {
  test.each([
    "for (;;);",
    "process.nextTick(function f() { process.nextTick(f) })",
    "(function f() { queueMicrotask(f) })()",
    "(function f() { setImmediate(f) })()",
    "function f() { try { for (;;); } finally { f() } } f()",
    "for (;;) try { for (;;); } catch {}",
    "/(a+)+$/.test('a'.repeat(60) + 'b')",
    "while (true) await null",
    "Array.prototype.indexOf.call({ length: 2 ** 53 - 1 }, 1)",
    "process.on('exit', () => { for (;;); })",
  ])("%s", async (code) => {
    const ended = await hostile(code, {}, { cpuTimeLimitMs: 100 });
    expect(ended).toMatchObject({ reason: "cpu", code: 124, after: "42\n", neighbour: "fine\n" });
    expect(ended.errorMessage).toContain("CPU time limit exceeded");
  });

  test("waiting is free", async () => {
    const runtime = await make({ cpuTimeLimitMs: 200 });
    expect(await runtime.exec("setTimeout(() => console.log('ok'), 600)")).toMatchObject({ code: 0, stdout: "ok\n" });
  });
});

describe("wall time", () => {
  test.each(["setInterval(() => {}, 10)", "for (;;);", "await new Promise((r) => setTimeout(r, 1e6))"])("%s", async (code) => {
    const runtime = await make();
    const result = await runtime.exec(code, { wallTimeLimitMs: 150 });
    expect(result).toMatchObject({ reason: "wall", code: 124 });
    expect(result.errorMessage).toContain("wall time limit exceeded");
    expect(await runtime.exec("1")).toMatchObject({ code: 0 });
  });
});

describe("memory", () => {
  test.each([
    "const a = []; for (;;) a.push(new Array(1000).fill(1.5))",
    "let s = 'x'; for (;;) s += s + Math.random()",
    "const a = []; for (;;) a.push(new Uint8Array(1 << 20).fill(1))",
    "const a = []; for (;;) a.push(Buffer.alloc(1 << 20, 1))",
    "const m = new Map(); for (let i = 0; ; i++) m.set(i, { i })",
    "'x'.repeat(2 ** 27 + 2).split('')",
    "Array.prototype.sort.call({ length: 2 ** 53 - 1 })",
  ])("%s", async (code) => {
    const ended = await hostile(code, { memoryLimit: 64, cpuTimeLimitMs: 20_000 });
    expect(ended.after).toBe("42\n");
    expect(ended.neighbour).toBe("fine\n");
    // A refused allocation may also surface as an error of the guest.
    expect(["memory", "cpu", "error"]).toContain(ended.reason);
    if (ended.reason === "memory") expect([ended.code, ended.errorMessage]).toEqual([137, expect.stringContaining("memory limit exceeded")]);
  });
});

describe("memory of Intl", () => {
  test("has a bound of its own, and ends a program that keeps it", async () => {
    const child = await inChild(`
      const runtime = await NodeRuntime.create({ memoryLimit: 64 });
      await runtime.exec("1");
      const before = process.memoryUsage().rss;
      const { reason, errorMessage } = await runtime.exec("const a = []; for (;;) a.push(new Intl.DateTimeFormat())");
      console.log(JSON.stringify({ reason, errorMessage, grown: process.memoryUsage().rss - before }));
      process.exit(0);`);
    const ended = lastLine<{ reason: string; errorMessage: string; grown: number }>(child);
    expect(ended).toMatchObject({ reason: "memory", errorMessage: expect.stringContaining("memory limit exceeded") });
    expect(ended.grown).toBeLessThan(1024 << 20);
  });

  test("is collected when nobody keeps it", async () => {
    const runtime = await make({ memoryLimit: 64 });
    const result = await runtime.exec("for (let i = 0; i < 5000; i++) new Intl.DateTimeFormat('en').format(i); console.log('done')");
    expect(result).toMatchObject({ code: 0, stdout: "done\n" });
  });
});

describe("budgets", () => {
  test("timers", async () => {
    const runtime = await make({ resourceBudgets: { maxTimers: 100 } });
    const result = await runtime.exec("for (let i = 0; i < 1000; i++) setTimeout(() => {}, 1000)", { wallTimeLimitMs: 3000 });
    expect(result).toMatchObject({ code: 1, reason: "error", error: { code: "ERR_RESOURCE_BUDGET_EXCEEDED" } });
    expect(result.errorMessage).toContain("maxTimers");
  });

  test("descriptors", async () => {
    const runtime = await make({ resourceBudgets: { maxOpenFds: 32 } });
    const result = await runtime.exec("const fs = require('fs'); for (;;) fs.openSync('/tmp', 'r')");
    expect(result).toMatchObject({ reason: "error", error: { code: "EMFILE" } });
  });

  test("bytes of files", async () => {
    const runtime = await make({ resourceBudgets: { maxFilesystemBytes: 2 ** 20 } });
    const result = await runtime.exec("require('fs').writeFileSync('/tmp/big', Buffer.alloc(2 ** 21))");
    expect(result).toMatchObject({ reason: "error" });
    expect(result.error?.code).toMatch(/^(ENOSPC|EDQUOT)$/);
  });
});

describe("time", () => {
  test("stands still while code runs", async () => {
    const runtime = await make();
    const code = `
      const all = () => [Date.now(), new Date().getTime(), performance.now(), process.hrtime().join(), process.uptime(), new Intl.DateTimeFormat('en', { fractionalSecondDigits: 3 }).format()].join();
      const before = all();
      for (let i = 0; i < 3e7; i++);
      console.log(before === all());
    `;
    expect(await runtime.exec(code)).toMatchObject({ stdout: "true\n" });
    expect(await runtime.exec("const a = Date.now(); setTimeout(() => console.log(Date.now() - a >= 20), 20)")).toMatchObject({ stdout: "true\n" });
  });

  test("runs with timingMitigation off", async () => {
    const runtime = await make();
    const code = "const a = performance.now(); while (performance.now() - a < 5); console.log('moved')";
    expect(await runtime.exec(code, { timingMitigation: "off" })).toMatchObject({ stdout: "moved\n" });
  });
});
