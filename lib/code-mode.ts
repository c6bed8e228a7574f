/** `secure-exec/code-mode`: code that a model wrote, with tools of the host's and nothing else. */

import { randomBytes } from "node:crypto";
import { typeError, rangeError, valueError } from "./errors.js";
import { NodeRuntime } from "./runtime.js";
import type { NodeRuntimeCreateOptions } from "./types.js";

/** Takes one input; what it answers is copied. */
export type Tool = (input: any) => unknown;

/** Tools by name; the code calls `tools.a.b(input)`. */
export interface Tools {
  [name: string]: Tool | Tools;
}

export interface CodeModeLog {
  level: "log" | "info" | "warn" | "error" | "debug";
  line: string;
}

export interface CodeModeOptions {
  tools?: Tools;
  /** Called for each tool that `tools` does not have, with its dotted path. */
  invoke?: (call: { path: string; args: unknown }) => unknown;
  /** Hears each line of the code's console as it comes. */
  onLog?: (log: CodeModeLog) => void;
  /** Hears what a tool threw; the code sees `Internal tool error [id]` and no more. */
  onToolError?: (failure: { id: string; path: string; error: unknown }) => void;
  /** Wall time, 100 to 2,147,483,647; 300,000 by default. */
  timeoutMs?: number;
  signal?: AbortSignal;
  /** MB; 64 by default. */
  memoryLimit?: number;
  /** Calls of tools; 1,000 by default. */
  maxToolCalls?: number;
  /** More about the VM, such as `permissions`. */
  runtime?: Omit<NodeRuntimeCreateOptions, "hostFunctions" | "bindings" | "memoryLimit" | "signal" | "wallTimeLimitMs">;
}

export interface CodeModeResult {
  status: "completed" | "failed" | "timed_out" | "cancelled";
  /** What the code returned. */
  result?: unknown;
  /** Why it did not complete, in one line. */
  error?: string;
  /** Its console: `[log] text`. */
  logs: string[];
  durationMs: number;
}

const KEYS = [
  "tools",
  "invoke",
  "onLog",
  "onToolError",
  "timeoutMs",
  "signal",
  "memoryLimit",
  "maxToolCalls",
  "runtime",
] as const satisfies (keyof CodeModeOptions)[];
const LEVELS = ["log", "info", "warn", "error", "debug"] as const satisfies CodeModeLog["level"][];
const MAX_TIMEOUT_MS = 2 ** 31 - 1;
const MAX_LOG_LINES = 10_000;
const MAX_LOG_LENGTH = 1 << 20;
const MAX_LINE_LENGTH = 1 << 16;
const MAX_PATH_LENGTH = 1024;

/** Runs before the code, in the same realm: what the code may change is read first. */
const HARNESS = `
import { stripTypeScriptTypes } from "node:module";
const { invoke, log } = SecureExec.bindings;
const AsyncFunction = (async () => {}).constructor;
const { stringify } = JSON;
const pending = new Set();
const text = (value) => { if (typeof value === "string") return value; try { return stringify(value) ?? String(value); } catch { return String(value); } };
const told = (level) => (...values) => {
  const done = log(level, values.map(text).join(" ")).catch(() => {}).then(() => pending.delete(done));
  pending.add(done);
};
const console = {};
for (const level of ["log", "info", "warn", "error", "debug"]) console[level] = told(level);
const toolsAt = (path) => new Proxy(function () {}, {
  get: (_, name) => (typeof name !== "string" || name === "then" ? undefined : toolsAt(path === "" ? name : path + "." + name)),
  apply: (_, self, [input = {}]) => {
    if (path === "") throw new Error("Tool path missing");
    return invoke(path, input);
  },
});
const tools = toolsAt("");
/** The source of an asynchronous function's body without types; it must be a body as it stands. */
const body = (source) => {
  const head = "async function run(tools, console) {\\n";
  const plain = stripTypeScriptTypes(head + source + "\\n}", { mode: "transform" });
  const start = plain.indexOf("{") + 1;
  return plain.slice(start, plain.lastIndexOf("}"));
};
const compile = () => {
  let failure;
  for (const source of CANDIDATES) {
    try {
      return new AsyncFunction("tools", "console", body(source));
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
};
let value = await compile()(tools, console);
if (typeof value === "function") value = await value(tools, console);
while (pending.size > 0) await Promise.all(pending);
export { value };
`;

/** Runs code in a VM of its own. Never rejects for what the code did. */
export async function execute(code: string, options: CodeModeOptions = {}): Promise<CodeModeResult> {
  if (typeof code !== "string") throw typeError("code", "a string", code);
  check(options);
  const { tools = {}, invoke, onLog, onToolError, timeoutMs = 300_000, signal, memoryLimit = 64, maxToolCalls = 1_000 } = options;
  if (typeof timeoutMs !== "number" || !(timeoutMs >= 100 && timeoutMs <= MAX_TIMEOUT_MS)) {
    throw rangeError("timeoutMs", `100 to ${MAX_TIMEOUT_MS}`, timeoutMs);
  }
  if (!Number.isSafeInteger(maxToolCalls) || maxToolCalls < 0) throw rangeError("maxToolCalls", "an integer from 0 to 2^53 - 1", maxToolCalls);
  const started = performance.now();
  const logs: string[] = [];
  let length = 0;
  let calls = 0;
  let isOver = false;

  const call = async (path: unknown, input: unknown): Promise<unknown> => {
    if (isOver) throw new Error("the run has ended");
    if ((calls += 1) > maxToolCalls) throw new Error(`more than ${maxToolCalls} tool calls (option maxToolCalls)`);
    // The code may call this without `tools`, with anything: what is no text has one that may be endless.
    if (typeof path !== "string" || path.length > MAX_PATH_LENGTH) throw new Error(`the path of a tool is a string of at most ${MAX_PATH_LENGTH} characters`);
    const name = path;
    const tool = find(tools, name);
    if (tool === undefined && invoke === undefined) throw new Error(`there is no tool '${name}'`);
    try {
      return await (tool === undefined ? invoke?.({ path: name, args: input }) : tool(input));
    } catch (error) {
      const id = randomBytes(4).toString("hex");
      quietly(() => onToolError?.({ id, path: name, error }));
      throw Object.assign(new Error(`Internal tool error [${id}]`), { stack: "" });
    }
  };
  const log = (given: unknown, text: unknown): void => {
    // The code may call this without its console.
    if (typeof text !== "string") throw new Error("a line is a string");
    if (isOver || logs.length >= MAX_LOG_LINES || length >= MAX_LOG_LENGTH) return;
    const level = LEVELS.find((known) => known === given) ?? "log";
    const line = text.slice(0, MAX_LINE_LENGTH);
    length += line.length;
    logs.push(`[${level}] ${line}`);
    quietly(() => onLog?.({ level, line }));
  };

  const runtime = await NodeRuntime.create({
    ...options.runtime,
    memoryLimit,
    hostFunctions: { invoke: { handler: call, timeout: timeoutMs }, log },
  });
  try {
    const harness = HARNESS.replace("CANDIDATES", () => JSON.stringify(candidates(code)));
    const ended = await runtime.run<{ value: unknown }>(harness, {
      filePath: "/workspace/code-mode.mjs",
      wallTimeLimitMs: timeoutMs,
      ...(signal === undefined ? {} : { signal }),
    });
    isOver = true;
    const durationMs = performance.now() - started;
    const { reason, exports, code: exitCode } = ended;
    if (reason === "exit" && exports !== undefined) return { status: "completed", result: exports.value, logs, durationMs };
    const rest = { logs, durationMs };
    if (reason === "wall") return { status: "timed_out", error: `Execution timed out after ${timeoutMs}ms`, ...rest };
    if (reason === "cpu") return { status: "timed_out", error: ended.errorMessage ?? "CPU time limit exceeded", ...rest };
    if (reason === "aborted" || reason === "disposed") return { status: "cancelled", error: ended.errorMessage ?? reason, ...rest };
    const error = ended.errorMessage ?? `the code exited with code ${exitCode} before it returned`;
    return { status: "failed", error, ...rest };
  } finally {
    isOver = true;
    await runtime.dispose();
  }
}

/** The same as a namespace. */
export const codeMode = { execute };

/** What frameworks for agents call an executor: `execute(code, functions | { invoke })`. */
export interface CodeExecutor {
  execute(code: string, tools?: Tools | { invoke: NonNullable<CodeModeOptions["invoke"]> }): Promise<{ result: unknown; error?: string; logs: string[] }>;
  /** The shape of an isolate's driver. */
  createContext(options?: { bindings?: Tools; timeout?: number; memoryLimit?: number }): Promise<{
    execute(code: string): Promise<{ success: boolean; value?: unknown; error?: { message: string }; logs: string[] }>;
    dispose(): Promise<void>;
  }>;
}

/** An executor with these options for all that it runs. */
export function createExecutor(options: CodeModeOptions = {}): CodeExecutor {
  return {
    async execute(code, tools = {}) {
      const given = isInvoker(tools) ? { invoke: tools.invoke } : { tools };
      const { result, error, logs } = await execute(code, { ...options, ...given });
      return { result, ...(error === undefined ? {} : { error }), logs };
    },
    async createContext({ bindings = {}, timeout, memoryLimit } = {}) {
      const own = {
        ...options,
        tools: bindings,
        ...(timeout === undefined ? {} : { timeoutMs: timeout }),
        ...(memoryLimit === undefined ? {} : { memoryLimit }),
      };
      return {
        async execute(code) {
          const { status, result, error, logs } = await execute(code, own);
          if (status === "completed") return { success: true, value: result, logs };
          return { success: false, error: { message: error ?? status }, logs };
        },
        dispose: async () => {},
      };
    },
  };
}

function check(options: CodeModeOptions): void {
  if (typeof options !== "object" || options === null) throw typeError("options", "an object", options);
  for (const [key, value] of Object.entries(options)) {
    if (value !== undefined && !(KEYS as readonly string[]).includes(key)) throw valueError(`options.${key}`, "is not an option", value);
  }
  const { tools, runtime } = options;
  for (const [name, value] of Object.entries({ tools, runtime })) {
    if (value !== undefined && (typeof value !== "object" || value === null)) throw typeError(name, "an object", value);
  }
  const { invoke, onLog, onToolError } = options;
  for (const [name, value] of Object.entries({ invoke, onLog, onToolError })) {
    if (value !== undefined && typeof value !== "function") throw typeError(name, "a function", value);
  }
}

function isInvoker(tools: object): tools is { invoke: NonNullable<CodeModeOptions["invoke"]> } {
  const keys = Object.keys(tools);
  return keys.length === 1 && keys[0] === "invoke";
}

/** A tool by its dotted path, through own properties only. */
function find(tools: Tools, path: string): Tool | undefined {
  let at: unknown = tools;
  let owner: unknown;
  for (const name of path.split(".")) {
    if (typeof at !== "object" || at === null || !Object.hasOwn(at, name)) {
      // Names with dots in them.
      return Object.hasOwn(tools, path) && typeof tools[path] === "function" ? tools[path] : undefined;
    }
    owner = at;
    at = (at as Record<string, unknown>)[name];
  }
  return typeof at === "function" ? (input) => (at as Tool).call(owner, input) : undefined;
}

/** What stands in the first fence, or all of it. */
function unfenced(text: string): string {
  const fence = "```";
  const open = text.indexOf(fence);
  const start = open < 0 ? -1 : text.indexOf("\n", open);
  const close = start < 0 ? -1 : text.indexOf(`\n${fence}`, start);
  // In a line of code the three characters are something else.
  if (close < 0 || !/^\w*\s*$/.test(text.slice(open + fence.length, start))) return text;
  return text.slice(start + 1, close);
}

/** Bodies of functions that the code may be meant as, in the order in which they are tried. */
function candidates(given: string): string[] {
  const code = unfenced(given).trim();
  const exported = /^export\s+default\s+/.exec(code);
  const main = exported === null ? code : code.slice(exported[0].length);
  const expression = main.replace(/;\s*$/, "");
  const isFunction = /^(async\b|function\b|\(|[A-Za-z_$][\w$]*\s*=>)/.test(main);
  return isFunction || exported !== null ? [`return (${expression}\n)`, main] : [main];
}

function quietly(action: () => void): void {
  try {
    action();
  } catch {
    // A hook of the host's is its own affair: the code and its result do not depend on it.
  }
}
