/** `createVm`, and functions that make a VM for one call. */

import { randomUUID } from "node:crypto";
import { posix } from "node:path";
import type { Context } from "../context.js";
import { SecureExecError, disposedError, typeError } from "../errors.js";
import { COMMAND, COMMAND_PATH } from "../first-generation/kernel.js";
import type { GuestProcess } from "../guest-process.js";
import { NodeRuntime } from "../runtime.js";
import type { EvaluateResult, ExecOptions, ExecResult, SpawnOptions } from "../types.js";
import { jsonOf } from "./json.js";
import { CODE_KEYS, FILE_KEYS, SPAWN_KEYS, callOptions, checkCall, part, prelude, readMounts, readVmOptions } from "./options.js";
import type {
  CodeEvaluationResult,
  CodeExecutionResult,
  ContextExecutionOptions,
  EvaluateOptions,
  ExecuteFileOptions,
  ExecuteOptions,
  ExecutionErrorData,
  JavaScriptExecutionOptions,
  JsonValue,
  LanguageExecutionOptions,
  LanguageSpawnOptions,
  OutputCapture,
  ProcessDescriptor,
  ProcessExit,
  Vm,
  VmContext,
  VmLanguage,
  VmOptions,
} from "./types.js";

const CWD = "/workspace";
const CONTEXT_KEYS = ["inputs", "timeoutMs", "signal", "onStdout", "onStderr", "output", "format"];
/** Of processes that have ended, so many are listed. */
const MAX_ENDED = 1024;
const SERIALIZATION = "evaluation_serialization_failed";

/** VMs that have not been disposed of. */
const live = new Set<Machine>();

/** Makes a VM. */
export async function createVm(options?: VmOptions): Promise<Vm> {
  return Machine.make(options);
}

/** Loads what the first VM needs. */
export async function init(): Promise<void> {
  const runtime = await NodeRuntime.create();
  await runtime.dispose();
}

/** Disposes of all VMs that these functions have made. */
export async function shutdown(): Promise<void> {
  await Promise.all([...live].map((vm) => vm.dispose()));
}

/** Runs code in a VM of its own. */
export function execute(source: string, options?: ExecuteOptions): Promise<CodeExecutionResult> {
  return once(options, (vm, call) => vm.javascript.execute(source, call));
}

/** The JSON value of an expression, evaluated in a VM of its own. */
export function evaluate<T = JsonValue>(source: string, options?: EvaluateOptions): Promise<CodeEvaluationResult<T>> {
  return once(options, (vm, call) => vm.javascript.evaluate<T>(source, call));
}

/** Runs a file of a mount in a VM of its own. */
export function executeFile(path: string, options?: ExecuteFileOptions): Promise<CodeExecutionResult> {
  return once(options, (vm, call) => vm.javascript.executeFile(path, call));
}

async function once<C extends object, R>(options: (C & VmOptions) | undefined, action: (vm: Vm, call: C) => Promise<R>): Promise<R> {
  const { vm: vmOptions, call } = part<C>(options);
  const vm = await Machine.make(vmOptions);
  try {
    return await action(vm, call);
  } finally {
    await vm.dispose();
  }
}

interface Tracked {
  process: GuestProcess;
  descriptor: ProcessDescriptor;
  exit: Promise<ProcessExit>;
}

class Machine implements Vm {
  readonly javascript: VmLanguage;
  readonly typescript: VmLanguage;
  readonly filesystem: Vm["filesystem"];
  readonly network: Vm["network"];
  readonly process: Vm["process"];
  readonly #runtime: NodeRuntime;
  readonly #globals: readonly string[];
  readonly #processes = new Map<number, Tracked>();

  static async make(options: VmOptions | undefined): Promise<Machine> {
    const { create, globals } = readVmOptions(options);
    return new Machine(await NodeRuntime.create(create), globals);
  }

  private constructor(runtime: NodeRuntime, globals: readonly string[]) {
    this.#runtime = runtime;
    this.#globals = globals;
    this.javascript = this.typescript = this.#language();
    this.filesystem = fileSystem(runtime);
    this.network = {
      httpRequest: async ({ port, ...request }) => {
        const response = await runtime.fetch(port, request);
        const { status, statusText, headers } = response;
        return { status, statusText, headers: { ...headers }, body: await response.bytes() };
      },
    };
    this.process = this.#commands();
    live.add(this);
  }

  async createContext(): Promise<VmContext> {
    return new StoredContext(await this.#runtime.createContext(), this.#globals);
  }

  async dispose(): Promise<void> {
    live.delete(this);
    await this.#runtime.dispose();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }

  #language(): VmLanguage {
    return {
      execute: async (source, options = {}) => {
        checkCall(options, CODE_KEYS);
        const code = before(source, prelude(options.inputs, this.#globals));
        return executed(await this.#runtime.exec(code, { ...program(options), ...placed(options) }), options.output?.capture);
      },
      evaluate: async <T>(source: string, options: JavaScriptExecutionOptions = {}) => {
        checkCall(options, CODE_KEYS);
        if (options.stdin !== undefined) throw typeError("options.stdin", "absent: an expression has no input", options.stdin);
        const { cwd, env, args } = options;
        const context = await this.#runtime.createContext({
          ...(cwd === undefined ? {} : { cwd }),
          ...(env === undefined ? {} : { env }),
          ...(args === undefined ? {} : { argv: args }),
        });
        try {
          return await evaluateIn<T>(context, source, options, this.#globals);
        } finally {
          await context.dispose();
        }
      },
      executeFile: async (path, options = {}) => {
        checkCall(options, FILE_KEYS);
        const { code, filePath } = await this.#read(path, options.cwd);
        return executed(await this.#runtime.exec(code, { ...program(options), filePath }), options.output?.capture);
      },
      spawn: (source, options = {}) => this.#spawn(before(source, prelude(undefined, this.#globals)), options, "javascript"),
      spawnFile: async (path, options = {}) => {
        const { code, filePath } = await this.#read(path, options.cwd);
        return this.#spawn(code, options, "javascript", { filePath });
      },
    };
  }

  async #read(path: string, cwd = CWD): Promise<{ code: string; filePath: string }> {
    const filePath = posix.resolve(cwd, path);
    const text = await this.#runtime.fs.readTextFile(filePath);
    return { code: before(text, prelude(undefined, this.#globals)), filePath };
  }

  #commands(): Vm["process"] {
    const run = async (argv: string[], options: LanguageExecutionOptions = {}): Promise<CodeExecutionResult> => {
      checkCall(options, FILE_KEYS);
      const result = await this.#runtime.exec(COMMAND, { ...program(options), filePath: COMMAND_PATH, argv });
      return executed(result, options.output?.capture);
    };
    const tracked = (pid: number): Tracked => {
      const found = this.#processes.get(pid);
      if (found === undefined) throw new SecureExecError("ESRCH", `there is no process ${pid}`);
      return found;
    };
    return {
      exec: (command, options) => run(["/bin/sh", "-c", command], options),
      execFile: (command, args = [], options = {}) => run([command, ...args], options),
      spawn: (command, args = [], options = {}) =>
        this.#spawn(COMMAND, options, command, { filePath: COMMAND_PATH, argv: [command, ...args] }),
      get: async (pid) => ({ ...tracked(pid).descriptor }),
      list: async () => [...this.#processes.values()].map(({ descriptor }) => ({ ...descriptor })),
      wait: async (pid) => tracked(pid).exit,
      signal: async (pid, signal) => void tracked(pid).process.kill(signal),
      kill: async (pid) => void tracked(pid).process.kill("SIGKILL"),
      writeStdin: (pid, data) =>
        new Promise((resolve, reject) => {
          tracked(pid).process.stdin.write(data, (error) => (error ? reject(error) : resolve()));
        }),
      closeStdin: async (pid) => void tracked(pid).process.stdin.end(),
      resizePty: async (pid, { cols, rows }) => tracked(pid).process.resize({ columns: cols, rows }),
    };
  }

  async #spawn(code: string, options: LanguageSpawnOptions, what: string, more: SpawnOptions = {}): Promise<ProcessDescriptor> {
    checkCall(options, SPAWN_KEYS);
    const { pty, onStdout, onStderr, ...rest } = options;
    const { onStdio: _, ...spawn } = program(rest);
    const process = await this.#runtime.spawn(code, {
      ...spawn,
      ...(onStdout === undefined ? {} : { onStdout }),
      ...(onStderr === undefined ? {} : { onStderr }),
      ...(pty === undefined ? {} : { tty: terminal(pty) }),
      ...more,
    });
    // One that has ended before it had a number gets one that no process has.
    const pid = process.pid || -1 - this.#processes.size;
    const named = what === "javascript" ? { language: what as "javascript" } : { command: what };
    const descriptor: ProcessDescriptor = { pid, state: "running", ...named, startedAtMs: Date.now() };
    const exit = process.wait().then((result): ProcessExit => {
      descriptor.state = "exited";
      this.#forget();
      const isLate = result.reason === "cpu" || result.reason === "wall";
      const outcome = isLate ? "timed_out" : result.signal === undefined ? "exited" : "signalled";
      return { pid, outcome, exitCode: result.code, ...(result.signal === undefined ? {} : { signal: result.signal }) };
    });
    this.#processes.set(pid, { process, descriptor, exit });
    return { ...descriptor };
  }

  /** Keeps the list of those that have ended short. */
  #forget(): void {
    const ended = [...this.#processes].filter(([, { descriptor }]) => descriptor.state === "exited");
    for (const [pid] of ended.slice(0, Math.max(0, ended.length - MAX_ENDED))) this.#processes.delete(pid);
  }
}

function fileSystem(runtime: NodeRuntime): Vm["filesystem"] {
  const { fs } = runtime;
  const write = async (path: string, content: string | Uint8Array): Promise<void> => void (await fs.writeFile(path, content));
  return {
    readFile: async (path) => (await fs.readFile(path)) as Uint8Array,
    writeFile: write,
    readFiles: (paths) =>
      Promise.all(
        paths.map(async (path) => {
          try {
            return { path, content: (await fs.readFile(path)) as Uint8Array };
          } catch (error) {
            return { path, content: null, error: (error as Error).message };
          }
        }),
      ),
    writeFiles: (entries) =>
      Promise.all(
        entries.map(async ({ path, content }) => {
          try {
            await write(path, content);
            return { path, success: true };
          } catch (error) {
            return { path, success: false, error: (error as Error).message };
          }
        }),
      ),
    stat: (path) => fs.stat(path),
    mkdir: async (path, options) => void (await fs.mkdir(path, options)),
    readdir: async (path) => (await fs.readdir(path)) as string[],
    exists: (path) => fs.exists(path),
    move: async (from, to) => void (await fs.rename(from, to)),
    remove: async (path, options) => void (await fs.rm(path, options)),
    mount: async (config) => {
      for (const mount of readMounts(config)) await runtime.mount(mount);
    },
    unmount: (path) => runtime.unmount(path),
    listMounts: async () => runtime.listMounts(),
  };
}

class StoredContext implements VmContext {
  readonly contextId = randomUUID();
  readonly #context: Context;
  readonly #globals: readonly string[];
  #disposed = false;

  constructor(context: Context, globals: readonly string[]) {
    this.#context = context;
    this.#globals = globals;
  }

  async execute(source: string, options: ContextExecutionOptions = {}): Promise<CodeExecutionResult> {
    this.#check(options);
    const code = before(source, prelude(options.inputs, this.#globals));
    return executed(await this.#context.execute(code, callOptions(options)), options.output?.capture);
  }

  async evaluate<T = JsonValue>(source: string, options: ContextExecutionOptions = {}): Promise<CodeEvaluationResult<T>> {
    this.#check(options);
    return evaluateIn<T>(this.#context, source, options, this.#globals);
  }

  async reset(): Promise<void> {
    await this.#context.reset();
  }

  async dispose(): Promise<void> {
    this.#disposed = true;
    await this.#context.dispose();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }

  #check(options: object): void {
    if (this.#disposed) throw disposedError("the context");
    checkCall(options, CONTEXT_KEYS);
  }
}

/** Evaluates an expression and makes its value what JSON makes of it. */
async function evaluateIn<T>(
  context: Context,
  source: string,
  options: ContextExecutionOptions,
  globals: readonly string[],
): Promise<CodeEvaluationResult<T>> {
  if (typeof source !== "string") throw typeError("source", "a string", source);
  const capture = options.output?.capture;
  // At the start of an expression a brace begins an object.
  const expression = /^\s*\{/.test(source) && !/;\s*$/.test(source) ? `(${source}\n)` : source;
  const code = before(expression, prelude(options.inputs, globals));
  const result: EvaluateResult = await context.evaluate(code, callOptions(options));
  if (result.error?.code === "ERR_SANDBOX_UNSUPPORTED_VALUE") result.error.code = SERIALIZATION;
  const ended = executed(result, capture);
  if (ended.outcome !== "succeeded") return ended;
  try {
    const { value } = result;
    return { ...ended, value: jsonOf(value) as T };
  } catch (error) {
    const { name, message } = error as Error;
    return { ...ended, outcome: "failed", error: { code: SERIALIZATION, name, message } };
  }
}

/** Whether code begins with the directive that makes it strict. In one pass: the code may be made to be slow to read. */
function isStrict(code: string): boolean {
  for (let rest = code.trimStart(); ; rest = rest.trimStart()) {
    const comment = rest.startsWith("//") ? "\n" : rest.startsWith("/*") ? "*/" : undefined;
    if (comment === undefined) return rest.startsWith('"use strict"') || rest.startsWith("'use strict'");
    const end = rest.indexOf(comment, 2);
    if (end < 0) return false;
    rest = rest.slice(end + comment.length);
  }
}

function before(source: string, prelude: string): string {
  if (prelude === "" || typeof source !== "string") return source;
  // A hashbang is one in the first column only, a directive in the first statement only.
  const code = source.startsWith("#!") ? `//${source}` : source;
  return `${isStrict(code) ? '"use strict"; ' : ""}${prelude} ${code}`;
}

/** Options of a program. */
function program(options: LanguageExecutionOptions): ExecOptions {
  const { cwd, env, args, stdin } = options;
  return {
    ...callOptions(options),
    ...(cwd === undefined ? {} : { cwd }),
    ...(env === undefined ? {} : { env }),
    ...(args === undefined ? {} : { argv: args }),
    ...(stdin === undefined ? {} : { stdin }),
  };
}

/** Where code without a file stands. */
function placed({ filePath, format, cwd = CWD }: JavaScriptExecutionOptions): { filePath?: string } {
  if (format !== undefined && format !== "module" && format !== "commonjs") throw typeError("options.format", '"module" or "commonjs"', format);
  if (filePath !== undefined) return { filePath };
  return format === "commonjs" ? { filePath: posix.join(cwd, "main.cjs") } : {};
}

function terminal({ cols, rows }: { cols?: number; rows?: number }): { columns?: number; rows?: number } {
  return { ...(cols === undefined ? {} : { columns: cols }), ...(rows === undefined ? {} : { rows }) };
}

/** A result as this generation tells it. */
function executed(result: ExecResult, capture: OutputCapture = "all"): CodeExecutionResult {
  const { reason, code, stdout, stderr, stdoutTruncated, stderrTruncated } = result;
  const streams = {
    exitCode: code,
    ...(capture === "all" && stdout !== undefined ? { stdout, stdoutTruncated: stdoutTruncated ?? false } : {}),
    ...(capture !== "none" && stderr !== undefined ? { stderr, stderrTruncated: stderrTruncated ?? false } : {}),
  };
  if (reason === "exit" && code === 0) return { ...streams, outcome: "succeeded" };
  const outcome = OUTCOMES[reason] ?? "failed";
  return { ...streams, outcome, error: failure(result) };
}

const OUTCOMES: Partial<Record<ExecResult["reason"], "cancelled" | "timed_out">> = {
  aborted: "cancelled",
  disposed: "cancelled",
  cpu: "timed_out",
  wall: "timed_out",
};

function failure({ reason, code, signal, error, errorMessage }: ExecResult): ExecutionErrorData {
  if (error !== undefined) {
    const { name, message, stack } = error;
    return { code: error.code ?? "ERR_UNCAUGHT", name, message, stack };
  }
  const how = signal === undefined ? `exited with code ${code}` : `ended by ${signal}`;
  return { code: `ERR_EXECUTION_${reason.toUpperCase()}`, name: "Error", message: errorMessage ?? `the program ${how}` };
}
