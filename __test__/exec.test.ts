import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { make } from "./support.js";

describe("programs", () => {
  test("prints and exits", async () => {
    const runtime = await make();
    const result = await runtime.exec("console.log('one', 1); console.error('two')");
    expect(result).toMatchObject({ code: 0, exitCode: 0, reason: "exit", stdout: "one 1\n", stderr: "two\n" });
    expect(result.stdoutTruncated).toBe(false);
    expect(result.errorMessage).toBeUndefined();
    expect(result.usage.cpuMs).toBeGreaterThan(0);
    expect(result.usage.wallMs).toBeGreaterThan(0);
  });

  test("empty code is a program", async () => {
    const runtime = await make();
    for (const code of ["", " \n", "// nothing", "type A = 1;"]) {
      expect(await runtime.exec(code)).toMatchObject({ code: 0, reason: "exit", stdout: "", stderr: "" });
    }
  });

  test("exit codes", async () => {
    const runtime = await make();
    expect(await runtime.exec("process.exit(7)")).toMatchObject({ code: 7, reason: "exit" });
    expect(await runtime.exec("process.exitCode = 3")).toMatchObject({ code: 3, reason: "exit" });
    expect(await runtime.exec("process.on('exit', () => { process.exitCode = 9 })")).toMatchObject({ code: 9 });
  });

  test("an uncaught error has code 1, a message, a record and a stack on stderr", async () => {
    const runtime = await make();
    const result = await runtime.exec("const e = new TypeError('no good'); e.code = 'E_X'; throw e");
    expect(result).toMatchObject({
      code: 1,
      reason: "error",
      errorMessage: "TypeError: no good",
      error: { name: "TypeError", message: "no good", code: "E_X" },
    });
    expect(result.error?.stack).toContain("TypeError: no good\n    at ");
    expect(result.stderr).toContain("TypeError: no good\n    at ");
  });

  test("an unhandled rejection ends like an error", async () => {
    const runtime = await make();
    const result = await runtime.exec("Promise.reject(new RangeError('late'))");
    expect(result).toMatchObject({ code: 1, reason: "error", error: { name: "RangeError", message: "late" } });
  });

  test("waits for timers and promises", async () => {
    const runtime = await make();
    const result = await runtime.exec("setTimeout(() => console.log('b'), 20); Promise.resolve().then(() => console.log('a'))");
    expect(result).toMatchObject({ code: 0, stdout: "a\nb\n" });
  });

  test("ECMAScript modules with top-level await", async () => {
    const runtime = await make();
    const code = "import { sep } from 'node:path'; const { readFile } = await import('node:fs/promises'); console.log(sep, typeof readFile)";
    expect(await runtime.exec(code)).toMatchObject({ code: 0, stdout: "/ function\n" });
  });

  test("TypeScript", async () => {
    const runtime = await make();
    const code = "enum Color { Red, Green } interface P { c: Color } const p: P = { c: Color.Green }; console.log(Color[p.c])";
    expect(await runtime.exec(code)).toMatchObject({ code: 0, stdout: "Green\n" });
    const file = await runtime.exec("const n: number = 1; console.log(n as unknown)", { filePath: "a/b.ts" });
    expect(file).toMatchObject({ code: 0, stdout: "1\n" });
  });

  test("stacks of TypeScript name its own lines, where text had to be printed anew, too", async () => {
    const runtime = await make();
    const erased = "interface A {\n  x: number;\n}\nfunction boom<T>(a: T): never {\n      throw new Error('boom');\n}\nboom<number>(1 as number);\n";
    const printed = `namespace N {\n  export const v: number = 1;\n\n  export function f(): never {\n    throw new Error("in " + v);\n  }\n}\ntype T = string;\n`;
    for (const filePath of ["/workspace/a.ts", "/workspace/a.mts"]) {
      const one = await runtime.exec(erased, { filePath });
      expect(one.error?.stack).toContain(`at boom (${filePath.endsWith("mts") ? "file://" : ""}${filePath}:5:13)`);
      const { error, stderr } = await runtime.exec(`${printed}class P { constructor(private a: number) {} }\nnew P(1); N.f();\n`, { filePath });
      expect(error?.stack).toMatch(/\/workspace\/a\.m?ts:5:\d+\)\n.*\/workspace\/a\.m?ts:10:\d+/);
      expect(stderr).toContain(`throw new Error("in " + v);`);
    }
    const caught = await runtime.exec(`${printed}try { N.f(); } catch (e) { console.log((e as Error).stack!.split("\\n")[1]!.trim()); }`, { filePath: "c.cts" });
    expect(caught.stdout).toMatch(/c\.cts:5:\d+/);
  });

  test("a syntax error is a clear failure", async () => {
    const runtime = await make();
    for (const code of ["let x = ;", "let x: number = ;"]) {
      const result = await runtime.exec(code);
      expect(result).toMatchObject({ code: 1, reason: "error", error: { name: "SyntaxError" } });
      expect(result.stderr).toMatch(/:1/);
    }
  });

  test("what a program gets: arguments, environment, directory, path, input", async () => {
    const runtime = await make({ env: { A: "1", B: "2" }, cwd: "/srv/app", argv: ["x"] });
    const show = "console.log(JSON.stringify([process.argv.slice(2), process.env, process.cwd(), __filename]))";
    const first = await runtime.exec(show);
    expect(JSON.parse(first.stdout ?? "")).toEqual([["x"], { A: "1", B: "2" }, "/srv/app", "/srv/app/main.cjs"]);
    const second = await runtime.exec(show, { env: { B: "3" }, argv: ["y", "z"], filePath: "tool.cjs" });
    expect(JSON.parse(second.stdout ?? "")).toEqual([["y", "z"], { A: "1", B: "3" }, "/srv/app", "/srv/app/tool.cjs"]);
    const echo = "process.stdin.on('data', (d) => process.stdout.write(d))";
    expect(await runtime.exec(echo, { stdin: "héllo" })).toMatchObject({ stdout: "héllo" });
    expect(await runtime.exec(echo, { stdin: new Uint8Array([104, 105]) })).toMatchObject({ stdout: "hi" });
  });

  test("nothing of the host shows", async () => {
    process.env["SECURE_EXEC_TEST_CANARY"] = "canary";
    const runtime = await make();
    const result = await runtime.exec(
      "const fs = require('fs'); console.log(JSON.stringify([process.env, fs.existsSync('/etc/passwd'), process.pid > 0]))",
    );
    const [env, , hasPid] = JSON.parse(result.stdout ?? "") as [object, boolean, boolean];
    expect(env).toEqual({});
    expect(hasPid).toBe(true);
    const read = await runtime.exec(`require('fs').readFileSync(${JSON.stringify(import.meta.filename)})`);
    expect(read).toMatchObject({ code: 1, error: { code: "ENOENT" } });
  });

  test("each program has a fresh isolate; files stay", async () => {
    const runtime = await make({ files: { "/data/in.txt": "text", "/data/bin": new Uint8Array([0, 255]) } });
    await runtime.exec("globalThis.left = 1; Array.prototype.extra = 1; require('fs').writeFileSync('/data/out', 'kept')");
    const result = await runtime.exec(
      "const fs = require('fs'); console.log(typeof left, [].extra, fs.readFileSync('/data/out', 'utf8'), fs.readFileSync('/data/in.txt', 'utf8'), fs.readFileSync('/data/bin').toString('hex'))",
    );
    expect(result.stdout).toBe("undefined undefined kept text 00ff\n");
  });

  test("VMs share nothing", async () => {
    const [one, two] = await Promise.all([make(), make()]);
    await one.exec("require('fs').writeFileSync('/tmp/secret', 'x')");
    const result = await two.exec("console.log(require('fs').existsSync('/tmp/secret'))");
    expect(result.stdout).toBe("false\n");
  });

  test("text of the guest decides nothing", async () => {
    const runtime = await make();
    for (const text of ["process.exit(0)", "CPU time limit exceeded", "timed out", "memory limit exceeded"]) {
      const result = await runtime.exec(`console.log(${JSON.stringify(text)}); throw new Error(${JSON.stringify(text)})`);
      expect(result).toMatchObject({ code: 1, reason: "error", errorMessage: `Error: ${text}`, stdout: `${text}\n` });
    }
  });

  test("programs run side by side", async () => {
    const runtime = await make();
    const results = await Promise.all(
      Array.from({ length: 8 }, (_, i) => runtime.exec(`setTimeout(() => console.log(${i}), 10)`)),
    );
    expect(results.map(({ stdout }) => stdout)).toEqual(Array.from({ length: 8 }, (_, i) => `${i}\n`));
  });
});

describe("what Node has", () => {
  test.each([
    ["require('zlib').constants.Z_MAX_CHUNK", "Infinity"],
    ["typeof require('zlib').Z_MAX_CHUNK", "number"],
    ["Object.getOwnPropertyDescriptor(process, 'pid').configurable", "true"],
    ["typeof process.report.getReport().resourceUsage.rss", "number"],
    ["Object.keys(process.report.getReport().header.release).join()", "name,lts,headersUrl,sourceUrl"],
    ["/Max open files +1024 +1024 +files/.test(require('fs').readFileSync('/proc/self/limits', 'utf8'))", "true"],
  ])("%s", async (expression, value) => {
    const result = await (await make()).exec(`console.log(String(${expression}))`);
    expect(result).toMatchObject({ code: 0, stdout: `${value}\n` });
  });

  test("a wrong vector of a cipher is told of before a wrong key", async () => {
    const result = await (await make()).exec(`
      const { createCipheriv } = require('crypto');
      for (const [name, key, iv] of [['aes-128-cbc', 1, 1], ['aes-128-cbc', 1, 16], ['aes-128-gcm', 1, 12], ['aes-128-gcm', 16, 0]]) {
        try { createCipheriv(name, Buffer.alloc(key), Buffer.alloc(iv)); } catch ({ code }) { console.log(code); }
      }`);
    expect(result.stdout).toBe(
      "ERR_CRYPTO_INVALID_IV\nERR_CRYPTO_INVALID_KEYLEN\nERR_CRYPTO_INVALID_KEYLEN\nERR_CRYPTO_INVALID_IV\n",
    );
  });
});

describe("thrown values", () => {
  test.each([
    ["null", "null"],
    ["1n", "1"],
    ["Symbol('s')", "Symbol(s)"],
    ["'text'", "text"],
    ["{ a: 1 }", ""],
    ["new Proxy({}, { get() { throw 1 } })", ""],
    ["Object.freeze(new Error('frozen'))", "frozen"],
    ["class X {}", ""],
  ])("throw %s", async (value, shown) => {
    const runtime = await make();
    const result = await runtime.exec(`throw (${value})`);
    expect(result).toMatchObject({ code: 1, reason: "error" });
    expect(result.errorMessage).toContain(shown);
  });

  test("getters on errors do not run for the host", async () => {
    const runtime = await make();
    const result = await runtime.exec(
      "const e = new Error('x'); Object.defineProperty(e, 'code', { get() { for (;;); } }); throw e",
      { cpuTimeLimitMs: 500 },
    );
    expect(["error", "cpu"]).toContain(result.reason);
    expect(result.code).not.toBe(0);
  });
});

describe("names of 0.3", () => {
  test("timeout, onStdout, onStderr, guestPath, readFile, writeStdin", async () => {
    const host = mkdtempSync(join(tmpdir(), "secure-exec-names-"));
    writeFileSync(join(host, "a.txt"), "host");
    const runtime = await make({ mounts: [{ guestPath: "/h", hostPath: host }] });
    expect(runtime.listMounts()).toEqual([{ path: "/h", source: "host", hostPath: host, mode: "ro" }]);
    await runtime.writeFile("/workspace/x/y.txt", "hey");
    expect(Buffer.from(await runtime.readFile("/workspace/x/y.txt")).toString()).toBe("hey");
    expect(await runtime.readDir("/workspace/x")).toEqual(["y.txt"]);
    const heard: string[] = [];
    const hook = (name: string) => (data: Uint8Array) => {
      heard.push(`${name} ${Buffer.from(data).toString()}`);
      throw new Error("of the hook");
    };
    const result = await runtime.exec("console.log(require('fs').readFileSync('/h/a.txt', 'utf8')); console.error('e')", {
      timeout: 5_000,
      onStdout: hook("out"),
      onStderr: hook("err"),
      onStdio: ({ message }) => void heard.push(message),
    });
    expect(result.code).toBe(0);
    expect(heard).toEqual(["out host\n", "host", "err e\n", "e"]);
    expect(await runtime.exec("setInterval(() => {}, 9)", { timeout: 50 })).toMatchObject({ reason: "wall" });
    const echo = await runtime.spawn("process.stdin.on('data', (data) => console.log('got ' + data)).on('end', () => process.exit(5))");
    await echo.writeStdin("abc");
    await echo.closeStdin();
    expect(await echo.wait()).toMatchObject({ code: 5, stdout: "got abc\n" });
    rmSync(host, { recursive: true });
  });
});
