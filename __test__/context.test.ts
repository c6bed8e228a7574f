import { Context } from "secure-exec";
import { describe, expect, test } from "vitest";
import { make } from "./support.js";

async function context(): Promise<Context> {
  return (await make()).createContext();
}

describe("contexts", () => {
  test("keep variables, functions and modules", async () => {
    const state = await context();
    expect(await state.execute("let n = 1; const f = (x) => x + n; globalThis.g = require('node:path')")).toMatchObject({ code: 0, reason: "exit" });
    expect(await state.execute("n += 1; console.log(f(40), g.sep)")).toMatchObject({ stdout: "42 /\n" });
    expect(await state.evaluate("({ n, list: [n] })")).toMatchObject({ value: { n: 2, list: [2] } });
  });

  test("await and TypeScript", async () => {
    const state = await context();
    expect(await state.evaluate("await new Promise((done) => setTimeout(done, 5, 'late'))")).toMatchObject({ value: "late" });
    await state.execute("const n: number = 5");
    expect(await state.evaluate<number>("n as number")).toMatchObject({ value: 5 });
  });

  test("an error is a failed call and no more", async () => {
    const state = await context();
    await state.execute("let n = 1");
    const failed = await state.execute("throw new TypeError('no')");
    expect(failed).toMatchObject({ code: 1, reason: "error", error: { name: "TypeError", message: "no" } });
    expect(failed.stderr).toContain("TypeError: no");
    expect(await state.execute("let = ;")).toMatchObject({ code: 1, error: { name: "SyntaxError" } });
    expect(await state.evaluate("n")).toMatchObject({ value: 1 });
  });

  test("a value that may not cross", async () => {
    const state = await context();
    expect(await state.evaluate("[() => 1]")).toMatchObject({ code: 1, error: { code: "ERR_SANDBOX_UNSUPPORTED_VALUE" } });
    expect(await state.evaluate("1 + 1")).toMatchObject({ code: 0, value: 2 });
  });

  test("calls run in order", async () => {
    const state = await context();
    const calls = Array.from({ length: 5 }, (_, i) => state.execute(`globalThis.s = (globalThis.s ?? "") + ${i}`));
    await Promise.all(calls);
    expect(await state.evaluate("s")).toMatchObject({ value: "01234" });
  });

  test("output belongs to its call", async () => {
    const state = await context();
    const heard: string[] = [];
    await state.execute("console.log('one')", { onStdio: ({ message }) => heard.push(message) });
    expect(await state.execute("console.log('two')")).toMatchObject({ stdout: "two\n" });
    expect(heard).toEqual(["one"]);
  });

  test.each([
    ["for (;;);", { cpuTimeLimitMs: 50 }, "cpu"],
    ["await new Promise(() => setInterval(() => {}, 5))", { wallTimeLimitMs: 60 }, "wall"],
    ["process.exit(4)", {}, "exit"],
    ["setTimeout(() => { throw new Error('late') })", {}, "error"],
  ])("after %s the state is fresh", async (code, options, reason) => {
    const state = await context();
    await state.execute("globalThis.n = 1");
    expect(await state.execute(code, options)).toMatchObject({ reason });
    const next = await state.evaluate("typeof n");
    expect(next.reason).toBe("exit");
    if (reason !== "error") expect(next.value).toBe("undefined");
  });

  test("reset", async () => {
    const state = await context();
    await state.execute("globalThis.n = 1");
    await state.reset();
    expect(await state.evaluate("typeof n")).toMatchObject({ value: "undefined" });
  });

  test("dispose", async () => {
    const state = await context();
    const running = state.execute("setTimeout(() => {}, 1e8)");
    const queued = state.execute("1");
    await new Promise((resolve) => setTimeout(resolve, 50));
    await state.dispose();
    await state.dispose();
    expect(await running).toMatchObject({ reason: "disposed" });
    expect(await queued).toMatchObject({ reason: "disposed" });
    await expect(state.execute("1")).rejects.toMatchObject({ code: "ERR_RUNTIME_DISPOSED" });
    await expect(state.reset()).rejects.toMatchObject({ code: "ERR_RUNTIME_DISPOSED" });
  });

  test("their runtime's terminate and dispose reach them", async () => {
    const runtime = await make();
    const state = await runtime.createContext();
    const first = state.execute("for (;;);");
    await new Promise((resolve) => setTimeout(resolve, 50));
    await runtime.terminate();
    expect(await first).toMatchObject({ reason: "aborted" });
    expect(await state.evaluate("1")).toMatchObject({ value: 1 });
    const second = state.execute("for (;;);");
    await new Promise((resolve) => setTimeout(resolve, 50));
    await runtime.dispose();
    expect(await second).toMatchObject({ reason: "disposed" });
  });

  test("are apart from each other and share files", async () => {
    const runtime = await make();
    const [one, two] = await Promise.all([runtime.createContext({ env: { A: "1" } }), runtime.createContext({ cwd: "/tmp" })]);
    await one.execute("globalThis.n = process.env.A; require('fs').writeFileSync('/tmp/f', 'shared')");
    expect(await two.evaluate("[typeof n, process.cwd(), require('fs').readFileSync('f', 'utf8')]")).toMatchObject({ value: ["undefined", "/tmp", "shared"] });
  });

  test("exec with context: true", async () => {
    const runtime = await make();
    await runtime.exec("var kept = 'yes'", { context: true });
    expect(await runtime.exec("console.log(kept)", { context: true })).toMatchObject({ stdout: "yes\n" });
    expect(await runtime.exec("console.log(typeof kept)")).toMatchObject({ stdout: "undefined\n" });
    await expect(runtime.exec("1", { context: true, env: {} })).rejects.toThrow(/options\.env cannot be given with context/);
  });

  test("bad options", async () => {
    const runtime = await make();
    await expect(runtime.createContext({ stdin: "x" } as object)).rejects.toThrow(/options\.stdin is not an option/);
    const state = await runtime.createContext();
    await expect(state.execute(1 as unknown as string)).rejects.toThrow(/code must be a string/);
    await expect(state.evaluate("1", { cpuTimeLimitMs: 0 })).rejects.toBeInstanceOf(RangeError);
    expect(() => new (Context as unknown as new (options: object) => Context)({})).toThrow(/createContext/);
  });

  test("static imports and exports, whose names stay", async () => {
    const runtime = await make({ files: { "/workspace/d.json": '{"a":1}' } });
    const context = await runtime.createContext();
    const value = async (code: string): Promise<unknown> => {
      const result = await context.evaluate(code);
      return result.errorMessage ?? result.value;
    };
    expect(await value("import fs, * as all from 'node:fs';\nimport { join, resolve as find } from 'node:path'; join('a', 'b')")).toBe("a/b");
    expect(await value("[typeof fs.readFileSync, typeof all.readFileSync, typeof find]")).toEqual(["function", "function", "function"]);
    // As a model does in each piece of code that it writes.
    expect(await value("import fs from 'node:fs'; const text: string = fs.readFileSync('d.json', 'utf8'); text")).toBe('{"a":1}');
    expect(await value("import data from './d.json' with { type: 'json' }; data.a")).toBe(1);
    expect(await value("export const x = 5; export function f() { return x } export { x as y }; export default (function g() {})")).toBeUndefined();
    expect(await value("export default class Named { v = 7 }")).toBeUndefined();
    expect(await value("[f(), new Named().v]")).toEqual([5, 7]);
    // A line without a semicolon ends where the next one begins.
    expect(await value("const one = 1\nexport default one")).toBe(1);
    expect(await value("let same = String\nexport { same }\n(function () {})()\nsame === String")).toBe(true);
    expect(await value("let list = [1]\nimport os from 'node:os'\n[0].length\nlist.length")).toBe(1);
    expect(await value("import 'node:nothing'")).toContain("node:nothing");
    expect(await value("import { x } from")).toContain("SyntaxError");
    // Lines keep their places.
    expect((await context.execute("import {\n  basename,\n} from 'node:path';\nthrow new Error('here')")).error?.stack).toContain(":4:");
    expect((await runtime.exec("import os from 'node:os'; console.log(typeof os)", { context: true })).stdout).toBe("object\n");
  });
});
