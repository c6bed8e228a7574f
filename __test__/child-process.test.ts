import { describe, expect, test } from "vitest";
import { make } from "./support.js";

/** A guest program with `cp` and a way to print how a child ends. */
const program = (body: string): string => `
  const cp = require('node:child_process');
  const fs = require('node:fs');
  const ends = (child) => child.on('close', (code, signal) => console.log(code, signal));
  ${body}`;

describe("child processes", () => {
  test("exec, execFile, spawn and the synchronous forms", async () => {
    const runtime = await make();
    const result = await runtime.exec(program(`
      console.log(cp.execSync('echo one | tr a-z A-Z').toString().trim());
      console.log(cp.execFileSync('node', ['-p', '6 * 7']).toString().trim());
      cp.exec('cat missing; exit 3', (error, stdout, stderr) => console.log(error.code, stderr.trim()));`));
    expect(result).toMatchObject({
      code: 0,
      stdout: "ONE\n42\n3 cat: missing: No such file or directory\n",
    });
  });

  test("standard input streams, and signals reach a child's handlers", async () => {
    const runtime = await make();
    const result = await runtime.exec(program(`
      fs.writeFileSync('/tmp/c.js', "process.stdin.pipe(process.stdout); process.on('SIGTERM', () => process.exit(9))");
      const child = cp.spawn(process.execPath, ['/tmp/c.js']);
      ends(child);
      child.stdout.once('data', (data) => { console.log(String(data)); child.kill(); });
      child.stdin.write('ping');`));
    expect(result).toMatchObject({ code: 0, stdout: "ping\n9 null\n" });
  });

  test("fork has a channel", async () => {
    const runtime = await make();
    const result = await runtime.exec(program(`
      fs.writeFileSync('/tmp/f.js', "process.on('message', (m) => { process.send(m * 2); process.disconnect(); })");
      const child = cp.fork('/tmp/f.js');
      child.on('message', (m) => console.log('got', m));
      ends(child);
      child.send(21);`));
    expect(result).toMatchObject({ code: 0, stdout: "got 42\n0 null\n" });
  });

  test("a hanging child is killed, and spawnSync times out", async () => {
    const runtime = await make();
    const result = await runtime.exec(program(`
      const { signal, error } = cp.spawnSync('node', ['-e', 'while (1);'], { timeout: 300 });
      console.log(signal, error.code);
      const child = cp.spawn('sh', ['-c', 'while :; do :; done']);
      ends(child);
      setTimeout(() => child.kill('SIGKILL'), 50);`));
    expect(result).toMatchObject({ code: 0, stdout: "SIGTERM ETIMEDOUT\nnull SIGKILL\n" });
  });

  test("the CPU limit holds for the tree", async () => {
    const runtime = await make({ cpuTimeLimitMs: 500 });
    const result = await runtime.exec(program("cp.spawn('node', ['-e', 'while (1);']); setInterval(() => {}, 1000);"));
    expect(result).toMatchObject({ code: 124, reason: "cpu" });
    expect(await runtime.exec("console.log('usable')")).toMatchObject({ code: 0, stdout: "usable\n" });
  });

  test("a fork bomb is bounded and another runtime answers", async () => {
    const runtime = await make({ cpuTimeLimitMs: 2000, resourceBudgets: { maxChildProcesses: 6 } });
    const other = await make();
    const bomb = runtime.exec(program(`
      fs.writeFileSync('/tmp/b.js', "const cp = require('child_process');" +
        "setInterval(() => cp.spawn('node', ['/tmp/b.js']).on('error', () => {}), 1)");
      require('/tmp/b.js');`));
    expect(await other.exec("console.log(1 + 1)")).toMatchObject({ code: 0, stdout: "2\n" });
    expect(await bomb).toMatchObject({ code: 124, reason: "cpu" });
    expect(await runtime.exec(program("console.log(cp.execSync('echo alive').toString())"))).toMatchObject({ code: 0 });
  });

  test("one process too many is EAGAIN", async () => {
    const runtime = await make({ resourceBudgets: { maxChildProcesses: 1 } });
    const result = await runtime.exec(program(`
      const child = cp.spawn('sleep', ['100']);
      cp.spawn('sleep', ['100']).on('error', (error) => { console.log(error.code); child.kill(); });`));
    expect(result).toMatchObject({ code: 0, stdout: "EAGAIN\n" });
  });
});
