/** Programs as they are written for the functions `execute`, `evaluate` and `createVm`. */

import { mkdtempSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createVm, evaluate, execute, executeFile, hostDirMount, hostFunction, hostFunctions, init, nodeModulesMount, shutdown } from "secure-exec";
import * as typescript from "secure-exec/typescript";

let host: string;

beforeAll(async () => {
  host = mkdtempSync(join(tmpdir(), "secure-exec-third-"));
  mkdirSync(join(host, "node_modules", "seven"), { recursive: true });
  writeFileSync(join(host, "node_modules", "seven", "index.js"), "module.exports = 7;");
  writeFileSync(join(host, "job.mjs"), "import seven from 'seven'; console.log(seven, process.argv.slice(2).join(), import.meta.filename);");
  await init();
});
afterAll(async () => {
  await shutdown();
  rmSync(host, { recursive: true });
});

describe("one call", () => {
  test("evaluate: the JSON value of an expression", async () => {
    expect(await evaluate("1 + 2")).toMatchObject({ outcome: "succeeded", value: 3 });
    expect(await evaluate("{ a: [new Date(0), undefined] }")).toMatchObject({
      value: { a: ["1970-01-01T00:00:00.000Z", null] },
    });
    expect(await evaluate("import('node:os').then((os) => os.EOL)")).toMatchObject({ value: "\n" });
    expect(await evaluate("a + inputs.b", { inputs: { b: 1 } })).toMatchObject({
      outcome: "failed",
      error: { name: "ReferenceError", message: "a is not defined" },
    });
    expect(await evaluate("inputs.a.length", { inputs: { a: "</script>\u2028'`" } })).toMatchObject({ value: 12 });
    for (const bad of ["(() => { const a = {}; a.a = a; return a })()", "10n"]) {
      expect(await evaluate(bad), bad).toMatchObject({ outcome: "failed", error: { code: "evaluation_serialization_failed" } });
    }
  });

  test("execute: how it ended, and what it wrote", async () => {
    const heard: string[] = [];
    const result = await execute(`console.log("hello", inputs.n, process.env.A, process.argv[2], process.cwd()); console.error("e");`, {
      inputs: { n: 4 },
      env: { A: "b" },
      args: ["c"],
      cwd: "/tmp",
      output: { capture: "all" },
      timeoutMs: 5_000,
      onStdout: (chunk) => heard.push(Buffer.from(chunk).toString()),
    });
    expect(result).toMatchObject({ outcome: "succeeded", exitCode: 0, stdout: "hello 4 b c /tmp\n", stderr: "e\n", stdoutTruncated: false });
    expect(heard.join("")).toBe(result.stdout);
    expect((await execute("console.log(1); console.error(2)", { output: { capture: "stderr" } })).stdout).toBeUndefined();
    expect(await execute("throw new TypeError('no')")).toMatchObject({
      outcome: "failed",
      exitCode: 1,
      error: { name: "TypeError", message: "no", stack: expect.stringContaining("no") },
      stderr: expect.stringContaining("TypeError: no"),
    });
    expect(await execute("process.exit(3)")).toMatchObject({ outcome: "failed", exitCode: 3 });
    expect(await execute("setInterval(() => {}, 9)", { timeoutMs: 50 })).toMatchObject({ outcome: "timed_out" });
    expect(await execute("for (;;);", { limits: { jsRuntime: { cpuTimeLimitMs: 50 } } })).toMatchObject({ outcome: "timed_out" });
    expect(await execute("for (;;);", { signal: AbortSignal.timeout(50) })).toMatchObject({ outcome: "cancelled" });
    expect(await execute("console.log(typeof require)", { format: "commonjs" })).toMatchObject({ stdout: "function\n" });
    expect(await execute("await fetch('http://example.com')")).toMatchObject({ outcome: "failed" });
    await expect(execute("1", { sandbox: {} } as object)).rejects.toThrow("sandbox");
    await expect(execute("1", { nonsense: 1 } as object)).rejects.toThrow("options.nonsense");
    for (const bad of [{ format: "xml" }, { inputs: 1 }, { onStdout: 1 }, { mounts: {} }, { limits: 1 }, { highResolutionTime: "no" }]) {
      await expect(execute("1", bad as object), JSON.stringify(bad)).rejects.toThrow(TypeError);
    }
    // Nothing that would have no effect.
    await expect(executeFile("/x.mjs", { inputs: {} } as object)).rejects.toThrow("options.inputs");
    await expect(execute("1", { pty: {} } as object)).rejects.toThrow("options.pty");
    await expect(execute("1", { limits: { jsRuntime: { wallClockLimitMs: NaN } } })).rejects.toThrow(RangeError);
    // What stands before the code takes nothing from its first line.
    const strict = `#!/usr/bin/env node\n// Strict.\n"use strict";\nconsole.log(inputs.n, (function () { return this; })());`;
    expect(await execute(strict, { inputs: { n: 1 }, format: "commonjs" })).toMatchObject({ stdout: "1 undefined\n" });
  });

  test("host functions are globals, mounts are there, files run", async () => {
    const orders = hostFunctions({
      name: "orders",
      functions: { list: hostFunction({ description: "orders", execute: ({ customer }: { customer: string }) => [customer, 1] }) },
    });
    expect(await evaluate(`orders.list({ customer: "c" })`, { hostFunctions: [orders] })).toMatchObject({ value: ["c", 1] });
    const mounts = [nodeModulesMount(join(host, "node_modules")), hostDirMount("/job", host)];
    expect(await executeFile("/job/job.mjs", { mounts, args: ["x", "y"] })).toMatchObject({ outcome: "succeeded", stdout: "7 x,y /job/job.mjs\n" });
    const writable = { path: "/job", plugin: { id: "host_dir", config: { hostPath: host } } };
    expect(await execute("require('fs').writeFileSync('/job/x', '')", { mounts: [writable as never] })).toMatchObject({ error: { code: "EROFS" } });
    expect(await execute("import seven from 'seven'; console.log(seven)", { mounts })).toMatchObject({ stdout: "7\n" });
    expect(await execute("require('fs').writeFileSync('/job/x', '')", { mounts })).toMatchObject({ outcome: "failed", error: { code: "EROFS" } });
  });

  test("secure-exec/typescript", async () => {
    expect(await typescript.evaluate<number>("(1 as number) + 1")).toMatchObject({ value: 2 });
    expect(await typescript.execute("enum A { B = 3 } const x: A = A.B; console.log(x)")).toMatchObject({ stdout: "3\n" });
  });
});

describe("createVm", () => {
  test("files, servers and commands outlast a call", async () => {
    await using vm = await createVm({ permissions: { network: "allow" } });
    await vm.filesystem.writeFile("/workspace/data.json", '{"n":40}');
    const sum = `import("node:fs").then((fs) => JSON.parse(fs.readFileSync("/workspace/data.json", "utf8")).n + 2)`;
    expect(await vm.javascript.evaluate<number>(sum)).toMatchObject({ value: 42 });
    const server = await vm.javascript.spawn(
      "require('http').createServer((q, r) => q.pipe(r)).listen(3000, () => console.log('up')); process.stdin.resume()",
    );
    expect(server).toMatchObject({ state: "running", language: "javascript" });
    for (;;) {
      const answer = await vm.network.httpRequest({ port: 3000, method: "POST", body: "hi" }).catch(() => undefined);
      if (answer === undefined) continue;
      expect({ ...answer, body: Buffer.from(answer.body).toString() }).toMatchObject({ status: 200, body: "hi" });
      break;
    }
    await vm.process.kill(server.pid);
    expect(await vm.process.wait(server.pid)).toEqual({ pid: server.pid, outcome: "signalled", exitCode: 137, signal: "SIGKILL" });
    expect(await vm.process.get(server.pid)).toMatchObject({ state: "exited" });
    expect(await vm.process.exec("echo a | tr a b; exit 3", {})).toMatchObject({ outcome: "failed", exitCode: 3, stdout: "b\n" });
    expect(await vm.process.execFile("cat", ["/workspace/data.json"])).toMatchObject({ stdout: '{"n":40}' });
    const heard: string[] = [];
    const cat = await vm.process.spawn("cat", [], { onStdout: (chunk) => heard.push(Buffer.from(chunk).toString()) });
    await vm.process.writeStdin(cat.pid, "typed");
    await vm.process.closeStdin(cat.pid);
    expect(await vm.process.wait(cat.pid)).toMatchObject({ outcome: "exited", exitCode: 0 });
    expect(heard.join("")).toBe("typed");
    await vm.filesystem.move("/workspace/data.json", "/workspace/moved.json");
    expect(await vm.filesystem.readdir("/workspace")).toEqual(["moved.json"]);
    expect(await vm.filesystem.readFiles(["/workspace/moved.json", "/none"])).toMatchObject([{ content: new Uint8Array(Buffer.from('{"n":40}')) }, { content: null }]);
  });

  test("a context keeps variables; what is disposed of refuses", async () => {
    const vm = await createVm();
    const context = await vm.createContext();
    await context.execute("globalThis.total = 40");
    expect(await context.evaluate<number>("total + 2")).toMatchObject({ outcome: "succeeded", value: 42 });
    await context.reset();
    expect(await context.evaluate("typeof total")).toMatchObject({ value: "undefined" });
    await context.dispose();
    await expect(context.execute("1")).rejects.toMatchObject({ code: "ERR_RUNTIME_DISPOSED" });
    const pending = vm.javascript.execute("setInterval(() => {}, 9)");
    await vm.dispose();
    expect(await pending).toMatchObject({ outcome: "cancelled" });
    await expect(vm.javascript.execute("1")).rejects.toMatchObject({ code: "ERR_RUNTIME_DISPOSED" });
  });
});
