/** Runs commands of guests as programs of the host. */

import { spawn } from "node:child_process";
import { constants } from "node:os";
import type { Readable, Writable } from "node:stream";
import type { CommandExecutor, CommandOptions, CommandProcess } from "../types.js";

/** Shells say so of a program that a signal ended. */
const SIGNALLED = 128;

/** A {@link CommandExecutor} whose answer is there at once. */
export interface HostCommandExecutor extends CommandExecutor {
  spawn(command: string, args: string[], options: CommandOptions): CommandProcess;
}

/**
 * The `commandExecutor` that starts programs of the host's disk, with the rights of this process: `permissions.childProcess`
 * is all that keeps a guest from them. They get the guest's variables, and of the host's only `PATH` where the guest has none.
 */
export function createNodeHostCommandExecutor(): HostCommandExecutor {
  return { spawn: start };
}

function start(command: string, args: string[], { cwd, env, onStdout, onStderr }: CommandOptions): CommandProcess {
  const path = process.env["PATH"];
  const child = spawn(command === "node" ? process.execPath : command, args, {
    ...(cwd === undefined ? {} : { cwd }),
    env: path === undefined ? { ...env } : { PATH: path, ...env },
    stdio: "pipe",
    windowsHide: true,
  });
  // What a program that has ended no longer reads is nobody's loss.
  child.stdin.on("error", () => {});
  const output = Promise.all([pass(child.stdout, onStdout), pass(child.stderr, onStderr)]);
  const ended = new Promise<number>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => resolve(code ?? SIGNALLED + (signal === null ? 0 : constants.signals[signal])));
  });
  const result = Promise.all([ended, output]).then(([code]) => code);
  // Whoever waits hears of a failure.
  result.catch(() => {});
  return {
    writeStdin: (data) => write(child.stdin, data),
    closeStdin: () => void child.stdin.end(),
    kill: (signal) => void child.kill(signal),
    wait: () => result,
  };
}

/** Reads no faster than the guest does. */
async function pass(from: Readable, to: CommandOptions["onStdout"]): Promise<void> {
  try {
    for await (const data of from as AsyncIterable<Uint8Array>) await to?.(data);
  } catch {
    // Of a program that could not be started; that is told by its end.
  }
}

function write(to: Writable, data: Uint8Array | string): Promise<void> {
  return new Promise((resolve) => to.write(data, () => resolve()));
}
