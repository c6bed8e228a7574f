/** Functions of the host that guests call. */

import { SecureExecError, rangeError, typeError, valueError } from "./errors.js";
import type { HostFunction, HostFunctionDefinition, HostFunctions } from "./types.js";

/** How long one call may take unless its definition says otherwise. */
const DEFAULT_TIMEOUT_MS = 30_000;
/** The longest time that a timer of Node's can count. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;
const MAX_DEPTH = 8;
const MAX_FUNCTIONS = 1024;
const NAME = /^[A-Za-z$][\w$]*$/;
const RESERVED = new Set(["constructor", "prototype"]);
const DEFINITION_KEYS = ["handler", "execute", "timeout", "description", "inputSchema", "examples"];

interface Entry {
  run: (args: unknown[]) => unknown;
  parse: ((input: unknown) => unknown) | undefined;
  timeoutMs: number;
}

/** The functions of one VM by dotted path. */
export class HostFunctionTable {
  readonly #entries = new Map<string, Entry>();

  /** The dotted paths. */
  get names(): string[] {
    return [...this.#entries.keys()];
  }

  /** Adds a tree of functions; one of the same path is replaced. Nothing is added when something in it cannot be meant. */
  add(functions: unknown, option: string): void {
    const found = new Map<string, Entry>();
    if (typeof functions !== "object" || functions === null || Array.isArray(functions)) {
      throw typeError(option, "an object of functions", functions);
    }
    collect(functions, option, [], found);
    const names = new Set([...this.#entries.keys(), ...found.keys()]);
    if (names.size > MAX_FUNCTIONS) throw rangeError(option, `at most ${MAX_FUNCTIONS} functions`, names.size);
    for (const name of names) {
      const levels = name.split(".");
      for (let end = 1; end < levels.length; end++) {
        const branch = levels.slice(0, end).join(".");
        if (names.has(branch)) throw valueError(`${option}.${branch}`, "must not be a function and have functions", name);
      }
    }
    for (const [name, entry] of found) this.#entries.set(name, entry);
  }

  /** Calls a function with a guest's arguments. */
  async call(name: string, args: unknown[]): Promise<unknown> {
    const entry = this.#entries.get(name);
    if (entry === undefined) throw new SecureExecError("ERR_INVALID_ARG_VALUE", `there is no host function '${name}'`);
    const { run, parse, timeoutMs } = entry;
    const given = parse === undefined ? args : [await parse(args[0]), ...args.slice(1)];
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        const message = `the host function '${name}' did not answer within ${timeoutMs} ms`;
        reject(new SecureExecError("ERR_HOST_FUNCTION_TIMEOUT", message));
      }, timeoutMs);
      timer.unref();
    });
    try {
      return await Promise.race([run(given), late]);
    } finally {
      clearTimeout(timer);
    }
  }
}

function collect(tree: object, option: string, path: string[], found: Map<string, Entry>): void {
  for (const [key, value] of Object.entries(tree) as [string, HostFunctions[string] | undefined][]) {
    const where = `${option}.${[...path, key].join(".")}`;
    if (value === undefined) continue;
    if (!NAME.test(key) || RESERVED.has(key)) throw valueError(where, "must have a name that is an identifier without _ at its start", key);
    const name = [...path, key];
    if (name.length > MAX_DEPTH) throw rangeError(where, `at most ${MAX_DEPTH} levels deep`, name.length);
    if (typeof value === "function") {
      found.set(name.join("."), entry(value, tree, {}, where));
    } else if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw typeError(where, "a function, a definition or an object of functions", value);
    } else if (isDefinition(value)) {
      const { handler, execute } = value;
      const run = handler ?? execute;
      for (const known of Object.keys(value)) {
        if (!DEFINITION_KEYS.includes(known)) throw valueError(`${where}.${known}`, `is not known; known are ${DEFINITION_KEYS.join(", ")}`, undefined);
      }
      found.set(name.join("."), entry(run as HostFunction, value, value, where));
    } else {
      collect(value, option, name, found);
    }
  }
}

/** Whether an object says how one function is called: one with functions of these names and no others is a tree. */
function isDefinition(value: object): value is HostFunctionDefinition {
  const { handler, execute } = value as HostFunctionDefinition;
  if (typeof (handler ?? execute) !== "function") return false;
  return Object.keys(value).every((key) => DEFINITION_KEYS.includes(key));
}

function entry(run: HostFunction, receiver: object, definition: Partial<HostFunctionDefinition>, where: string): Entry {
  const { timeout = DEFAULT_TIMEOUT_MS, inputSchema } = definition;
  if (typeof timeout !== "number") throw typeError(`${where}.timeout`, "a number", timeout);
  if (!(timeout >= 1 && timeout <= MAX_TIMEOUT_MS)) {
    throw rangeError(`${where}.timeout`, `a number from 1 to ${MAX_TIMEOUT_MS} (milliseconds)`, timeout);
  }
  const schema = inputSchema as { parse?: unknown; parseAsync?: unknown } | undefined;
  const parse = schema?.parseAsync ?? schema?.parse;
  return {
    run: (args) => Reflect.apply(run, receiver, args) as unknown,
    parse: typeof parse === "function" ? (input) => Reflect.apply(parse, schema, [input]) as unknown : undefined,
    timeoutMs: timeout,
  };
}
