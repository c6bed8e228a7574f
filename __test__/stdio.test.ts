import type { StdioEvent } from "secure-exec";
import { describe, expect, test } from "vitest";
import { make } from "./support.js";

describe("events", () => {
  test("one a write, without its newline, before the result", async () => {
    const events: StdioEvent[] = [];
    const runtime = await make({ onStdio: (event) => events.push(event) });
    const result = await runtime.exec("console.log('first'); console.error('second'); process.stdout.write('third'); console.log('a\\nb\\n')");
    expect(events.map(({ channel, message }) => [channel, message])).toEqual([
      ["stdout", "first"],
      ["stderr", "second"],
      ["stdout", "third"],
      ["stdout", "a\nb\n"],
    ]);
    expect(Buffer.from(events[0]?.data ?? []).toString()).toBe("first\n");
    expect(events.every(({ pid }) => pid > 0)).toBe(true);
    expect(result.stdout).toBe("first\nthirda\nb\n\n");
  });

  test("a hook of the program takes the place of the runtime's", async () => {
    const heard: string[] = [];
    const runtime = await make({ onStdio: () => heard.push("runtime") });
    await runtime.exec("console.log(1)", { onStdio: () => heard.push("program") });
    expect(heard).toEqual(["program"]);
  });

  test("hooks that throw or reject change nothing", async () => {
    const runtime = await make();
    const throws = await runtime.exec("console.log(1); console.log(2)", { onStdio: () => { throw new Error("hook"); } });
    expect(throws).toMatchObject({ code: 0, stdout: "1\n2\n" });
    const rejects = await runtime.exec("console.log(1)", { onStdio: async () => { throw new Error("hook"); } });
    expect(rejects).toMatchObject({ code: 0 });
  });

  test("characters that are cut between writes", async () => {
    const messages: string[] = [];
    const runtime = await make();
    const code = "const b = Buffer.from('é€😀'); for (const byte of b) process.stdout.write(Buffer.from([byte]))";
    const result = await runtime.exec(code, { onStdio: ({ message }) => messages.push(message) });
    expect(messages.join("")).toBe("é€😀");
    expect(result.stdout).toBe("é€😀");
  });

  test("bytes are exact, text is repaired", async () => {
    const data: Uint8Array[] = [];
    const runtime = await make();
    const result = await runtime.exec("process.stdout.write(Buffer.from([0xff, 0x41, 0xc3]))", { onStdio: (event) => data.push(event.data) });
    expect(Buffer.concat(data).toString("hex")).toBe("ff41c3");
    expect(result.stdout).toBe("\ufffdA\ufffd");
  });

  test("a hook may run a program of the same runtime", async () => {
    const runtime = await make();
    let inner: Promise<{ stdout?: string }> | undefined;
    await runtime.exec("console.log(1)", { onStdio: () => { inner ??= runtime.exec("console.log(2)"); } });
    expect((await inner)?.stdout).toBe("2\n");
  });
});

describe("capture", () => {
  test("1 MiB of each stream by default", async () => {
    const runtime = await make();
    const result = await runtime.exec("process.stdout.write('x'.repeat(2 ** 20 + 10)); process.stderr.write('y')");
    expect(result.stdout?.length).toBe(2 ** 20);
    expect(result).toMatchObject({ stdoutTruncated: true, stderrTruncated: false, stderr: "y" });
    expect((await runtime.stats()).droppedOutputBytes).toBe(10);
  });

  test("its size", async () => {
    const runtime = await make({ capture: { maxBytes: 3 } });
    expect(await runtime.exec("console.log('abcdef')")).toMatchObject({ stdout: "abc", stdoutTruncated: true });
    expect(await runtime.exec("console.log('abcdef')", { capture: { maxBytes: 100 } })).toMatchObject({ stdout: "abcdef\n", stdoutTruncated: false });
    expect(await runtime.exec("process.stdout.write('ab😀')")).toMatchObject({ stdout: "ab" });
  });

  test("off", async () => {
    const runtime = await make({ capture: false });
    const result = await runtime.exec("console.log('abc')");
    expect(result).toMatchObject({ code: 0 });
    for (const key of ["stdout", "stderr", "stdoutTruncated", "stderrTruncated"]) expect(key in result).toBe(false);
  });
});

describe("floods", () => {
  test("output beyond the budget is dropped and counted", async () => {
    const runtime = await make({ resourceBudgets: { maxOutputBytes: 1000 }, capture: { maxBytes: 10_000 } });
    let heard = 0;
    const result = await runtime.exec("for (let i = 0; i < 100; i++) process.stdout.write('x'.repeat(100))", { onStdio: ({ data }) => { heard += data.length; } });
    expect(result).toMatchObject({ code: 0, stdoutTruncated: true });
    expect([result.stdout?.length, heard]).toEqual([1000, 1000]);
  });

  test("a guest that writes faster than the host listens waits", async () => {
    const runtime = await make();
    let heard = 0;
    const result = await runtime.exec("for (let i = 0; i < 30; i++) process.stdout.write('x'.repeat(2 ** 20))", {
      capture: false,
      onStdio: ({ data }) => {
        heard += data.length;
        const until = performance.now() + 5;
        while (performance.now() < until);
      },
    });
    expect(result.code).toBe(0);
    expect(heard).toBe(30 * 2 ** 20);
  });

  test("its limits end it while it waits", async () => {
    const runtime = await make();
    const started = performance.now();
    const result = await runtime.exec("for (;;) console.log('x'.repeat(10_000))", { onStdio: () => {}, wallTimeLimitMs: 300 });
    expect(["wall", "cpu"]).toContain(result.reason);
    expect(performance.now() - started).toBeLessThan(5000);
  });
});
