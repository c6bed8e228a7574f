/** Code that a model wrote, with tools and nothing else. */

import { describe, expect, test } from "vitest";
import { codeMode, createExecutor } from "secure-exec/code-mode";
import type { CodeModeLog } from "secure-exec/code-mode";

const run = codeMode.execute;

describe("code mode", () => {
  test("forms of code", async () => {
    for (const code of [
      "return 42;",
      "const x: number = 42; return x;",
      "enum A { B = 42 } return A.B",
      "async () => 42",
      "async (tools) => { return 42 };",
      "() => { return 42 }",
      "function main() { return 42 }",
      "async function () { return 42 }",
      "function f() { return 42 }\nreturn f();",
      "export default async () => 42",
      "export default 42;",
      "Here it is:\n```ts\nconst x: number = 42;\nreturn x;\n```\nDone.",
      "const os = await import('node:os'); return os.EOL.length * 42",
    ]) {
      expect(await run(code), code).toMatchObject({ status: "completed", result: 42 });
    }
    expect(await run("interface X { a: string }")).toMatchObject({ status: "completed", result: undefined });
    expect(await run("")).toMatchObject({ status: "completed", result: undefined });
  });

  test("tools, logs and binary data", async () => {
    const heard: CodeModeLog[] = [];
    const failures: unknown[] = [];
    const tools = {
      math: { add: async ({ a, b }: { a: number; b: number }) => ({ sum: a + b }) },
      echo: (input: unknown) => input,
      fails: () => {
        throw new Error("Bearer SECRET 10.0.0.5");
      },
    };
    const result = await run(
      `const { sum } = await tools.math.add({ a: 3, b: 4 });
       console.log("sum:", sum, { a: [1] }); console.error("bad");
       const back = await tools.echo(new Uint8Array([0xde, 0xad, 0xbe, 0xef]));
       let message; try { await tools.fails() } catch (error) { message = error.message + error.stack }
       let missing; try { await tools.not.there() } catch (error) { missing = error.message }
       let all; try { await tools() } catch (error) { all = error.message }
       return { sum, back, message, missing, all, then: typeof tools.then };`,
      { tools, onLog: (log) => heard.push(log), onToolError: ({ error }) => failures.push((error as Error).message) },
    );
    expect(result).toMatchObject({
      status: "completed",
      result: {
        sum: 7,
        back: new Uint8Array([0xde, 0xad, 0xbe, 0xef]),
        message: expect.stringMatching(/^Internal tool error \[[0-9a-f]{8}\]/),
        missing: "there is no tool 'not.there'",
        all: "Tool path missing",
        then: "undefined",
      },
      logs: ['[log] sum: 7 {"a":[1]}', "[error] bad"],
    });
    expect(JSON.stringify(result)).not.toContain("SECRET");
    expect(failures).toEqual(["Bearer SECRET 10.0.0.5"]);
    expect(heard).toHaveLength(2);
    expect(await run("for (let i = 0; i < 9; i++) await tools.echo(i)", { tools, maxToolCalls: 5 })).toMatchObject({ status: "failed" });
    // What a prototype has is no tool.
    expect(await run("return await tools.echo.constructor('1')", { tools })).toMatchObject({ status: "failed" });
    expect(await run("return await tools.toString({})", { tools })).toMatchObject({ status: "failed" });
  });

  test("what did not complete", async () => {
    expect(await run("throw new Error('boom')")).toMatchObject({ status: "failed", error: expect.stringContaining("boom") });
    expect(await run("const x: = 5;")).toMatchObject({ status: "failed", error: expect.stringContaining("SyntaxError") });
    expect(await run("} globalThis.x = 1; async function y() {")).toMatchObject({ status: "failed" });
    expect(await run("process.exit(0)")).toMatchObject({ status: "failed" });
    expect(await run("return new Proxy({}, {})")).toMatchObject({ status: "failed" });
    for (const code of ["console.log('so far'); await new Promise(() => setInterval(() => {}, 99))", "await tools.hangs()"]) {
      const result = await run(code, { timeoutMs: 150, tools: { hangs: () => new Promise(() => {}) } });
      expect(result, code).toMatchObject({ status: "timed_out", error: "Execution timed out after 150ms" });
    }
    expect(await run("console.log('so far'); for (;;);", { timeoutMs: 150 })).toMatchObject({ status: "timed_out", logs: ["[log] so far"] });
    expect(await run("for (;;);", { signal: AbortSignal.timeout(100) })).toMatchObject({ status: "cancelled" });
    // Nothing of a run says how another ends.
    for (const code of ["throw new Error('Execution timed out after 1ms')", "throw new Error('CPU time limit exceeded')"]) {
      expect((await run(code)).status, code).toBe("failed");
    }
    await expect(run("1", { timeoutMs: NaN })).rejects.toThrow(RangeError);
    await expect(run("1", { maxToolCalls: NaN })).rejects.toThrow(RangeError);
    await expect(run("1", { maxToolcalls: 1 } as object)).rejects.toThrow("options.maxToolcalls");
    for (const bad of [{ tools: null }, { invoke: 1 }, { onLog: "x" }, { runtime: 7 }]) {
      await expect(run("1", bad as object)).rejects.toThrow(TypeError);
    }
    // Beside its console, too, the code says no more than a line and one of five levels.
    expect(await run("await SecureExec.bindings.log('x'.repeat(1e5), 'y')")).toMatchObject({ status: "completed", logs: ["[log] y"] });
    // The code may change its realm, but not what it returned or how it ended.
    const forged = `JSON.stringify = () => "x"; Promise.prototype.then = function () {}; Array.prototype.join = () => "y";
      Object.prototype.value = 7; return 1`;
    expect((await run(forged, { timeoutMs: 2_000 })).result).not.toBe(7);
    expect(({} as { value?: unknown }).value).toBeUndefined();
  });

  test("executors", async () => {
    const executor = createExecutor();
    expect(await executor.execute("return await tools.a.b({ n: 1 })", { invoke: ({ path, args }: { path: string; args: unknown }) => [path, args] })).toEqual({
      result: ["a.b", { n: 1 }],
      logs: [],
    });
    const driver = await executor.createContext({ bindings: { one: () => 1 }, timeout: 5_000 });
    expect(await driver.execute("console.log('x'); return await tools.one()")).toEqual({ success: true, value: 1, logs: ["[log] x"] });
    expect(await driver.execute("throw new Error('no')")).toMatchObject({ success: false, error: { message: "Error: no" } });
    await driver.dispose();
  });
});
