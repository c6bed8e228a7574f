import { spawn } from "node:child_process";
import { describe, expect, test } from "vitest";
import type { CommandExecutor } from "secure-exec";
import { make } from "./support.js";

interface Call {
  command: string;
  args: string[];
  cwd: string | undefined;
  env: Record<string, string> | undefined;
}

/** Runs every command as a program of host Node's. */
function hostNode(program: string, calls: Call[] = []): CommandExecutor {
  return {
    spawn(command, args, { cwd, env, onStdout, onStderr }) {
      calls.push({ command, args, cwd, env });
      const child = spawn(process.execPath, ["-e", program, "--", command, ...args], { env: {} });
      const pass = (stream: NodeJS.ReadableStream, hook: typeof onStdout): Promise<void> =>
        (async () => {
          for await (const data of stream) await hook?.(data as Uint8Array);
        })();
      const output = [pass(child.stdout, onStdout), pass(child.stderr, onStderr)];
      const ended = new Promise<number>((resolve) => child.on("close", (code) => resolve(code ?? 1)));
      return {
        writeStdin: (data) => new Promise<void>((resolve) => void child.stdin.write(data, () => resolve())),
        closeStdin: () => void child.stdin.end(),
        kill: (signal) => void child.kill(signal),
        wait: async () => {
          await Promise.all(output);
          return ended;
        },
      };
    },
  };
}

const guest = (body: string): string => `const cp = require('node:child_process'); ${body}`;

describe("commandExecutor", () => {
  test("runs what the VM does not have, with the guest's words and nothing else", async () => {
    const calls: Call[] = [];
    const program = "console.log(process.argv.slice(1).join(' ')); console.error('err'); process.exitCode = 3";
    const runtime = await make({ commandExecutor: hostNode(program, calls), env: { A: "1" } });
    const result = await runtime.exec(guest(`
      const child = cp.spawn('git', ['status', '-s'], { cwd: '/tmp', env: { B: '2' } });
      child.stdout.on('data', (data) => console.log(String(data).trim()));
      child.stderr.on('data', (data) => console.log(String(data).trim()));
      child.on('close', (code, signal) => {
        console.log(code, signal);
        const { status, stdout } = cp.spawnSync('git', ['log']);
        console.log(status, String(stdout).trim());
        try { cp.execSync('git diff | tr a-z A-Z; exit 4', { stdio: 'pipe' }); } catch (error) {
          console.log(error.status, String(error.stdout).trim());
        }
      });`));
    expect(result.code).toBe(0);
    expect(result.stdout?.split("\n").filter((line) => line !== "err")).toEqual(
      ["git status -s", "3 null", "3 git log", "4 GIT DIFF", ""],
    );
    expect(calls[0]).toEqual({ command: "git", args: ["status", "-s"], cwd: "/tmp", env: { B: "2" } });
    expect(calls[1]).toMatchObject({ command: "git", args: ["log"], cwd: "/workspace", env: { A: "1" } });
  });

  test("standard input and output stream, in bounded memory", async () => {
    const runtime = await make({ commandExecutor: hostNode("process.stdin.pipe(process.stdout)") });
    const result = await runtime.exec(guest(`
      const child = cp.spawn('tool');
      let bytes = 0;
      child.stdout.on('data', (data) => { bytes += data.length; });
      child.on('close', (code) => console.log(code, bytes));
      const piece = Buffer.alloc(1 << 20);
      let left = 20;
      (function write() {
        if (left-- === 0) child.stdin.end();
        else child.stdin.write(piece, write);
      })();`));
    expect(result).toMatchObject({ code: 0, stdout: `0 ${20 << 20}\n` });
  });

  test("an executor that does not wait fails at its limit, and the host lives", async () => {
    let killed = 0;
    const commandExecutor: CommandExecutor = {
      spawn(_command, _args, { onStdout }) {
        let end: (code: number) => void = () => {};
        const ended = new Promise<number>((resolve) => (end = resolve));
        for (let i = 0; i < 40; i++) void onStdout?.(new Uint8Array(1 << 20));
        return { writeStdin() {}, closeStdin() {}, kill: (signal) => { killed = signal ?? 15; end(1); }, wait: () => ended };
      },
    };
    const runtime = await make({ commandExecutor });
    const result = await runtime.exec(guest(`
      const { status, stderr } = cp.spawnSync('flood', [], { maxBuffer: Infinity });
      console.log(status, /onStdout/.test(String(stderr)));`));
    expect(result).toMatchObject({ code: 0, stdout: "1 true\n" });
    expect(killed).toBe(9);
  });

  test("signals reach it, and so does the end of the runtime", async () => {
    const signals: (number | undefined)[] = [];
    const commandExecutor: CommandExecutor = {
      spawn: () => ({
        writeStdin() {},
        closeStdin() {},
        kill: (signal) => void signals.push(signal),
        wait: () => new Promise(() => {}),
      }),
    };
    const runtime = await make({ commandExecutor });
    const result = await runtime.exec(guest(`
      const child = cp.spawn('hang');
      child.on('exit', (code, signal) => console.log(code, signal));
      child.kill('SIGINT');`));
    expect(result).toMatchObject({ code: 0, stdout: "null SIGINT\n" });
    expect(signals).toContain(2);
    const pending = runtime.exec(guest("cp.spawn('hang')"));
    await new Promise((resolve) => setTimeout(resolve, 300));
    await runtime.dispose();
    expect((await pending).reason).toBe("disposed");
    expect(signals).toContain(9);
  });

  test("its errors are the guest's, and the permission is asked first", async () => {
    let asked = 0;
    const commandExecutor: CommandExecutor = {
      spawn() {
        asked += 1;
        throw Object.assign(new Error("no such command"), { code: "ENOENT" });
      },
    };
    const program = guest("cp.spawn('nothing').on('error', ({ code, syscall }) => console.log(code, syscall));");
    const open = await make({ commandExecutor });
    expect(await open.exec(program)).toMatchObject({ code: 0, stdout: "ENOENT spawn nothing\n" });
    expect(asked).toBe(1);
    const closed = await make({ commandExecutor, permissions: { childProcess: "deny" } });
    expect(await closed.exec(program)).toMatchObject({ code: 0, stdout: "EACCES spawn nothing\n" });
    expect(asked).toBe(1);
    const none = await make();
    expect(await none.exec(program)).toMatchObject({ code: 0, stdout: "ENOENT spawn nothing\n" });
    await expect(make({ commandExecutor: {} as CommandExecutor })).rejects.toThrow(TypeError);
  });
});
