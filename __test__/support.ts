/** What the tests share. */

import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { NodeRuntime } from "secure-exec";
import type { NodeRuntimeCreateOptions } from "secure-exec";
import { afterEach } from "vitest";

export const root = fileURLToPath(new URL("../", import.meta.url));

const live: NodeRuntime[] = [];

afterEach(async () => {
  await Promise.all(live.splice(0).map((runtime) => runtime.dispose()));
});

/** A runtime that goes when the test ends. */
export async function make(options?: NodeRuntimeCreateOptions): Promise<NodeRuntime> {
  const runtime = await NodeRuntime.create(options);
  live.push(runtime);
  return runtime;
}

export interface Child {
  status: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
  ms: number;
}

/** Runs a program in a Node of its own; `NodeRuntime` is there. For what could take the host down. */
export async function inChild(code: string, options: { node?: string; timeoutMs?: number } = {}): Promise<Child> {
  const source = `import * as api from ${JSON.stringify(`${root}dist/index.js`)};
    const { NodeRuntime, SecureExecError } = api;
    const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
    ${code}`;
  const started = performance.now();
  const child = spawn(options.node ?? process.execPath, ["--input-type=module", "-e", source], {
    cwd: root,
    stdio: ["ignore", "pipe", "pipe"],
    timeout: options.timeoutMs ?? 45_000,
    killSignal: "SIGKILL",
  });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => (stdout += chunk));
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => (stderr += chunk));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (status, signal) => resolve({ status, signal, stdout, stderr, ms: performance.now() - started }));
  });
}

/** What a child printed as JSON in its last line. */
export function lastLine<T>(child: Child): T {
  const line = child.stdout.trimEnd().split("\n").at(-1) ?? "";
  if (child.status !== 0 || line === "") {
    throw new Error(`child ended with ${child.status ?? child.signal}\n${child.stdout}\n${child.stderr}`);
  }
  return JSON.parse(line) as T;
}
