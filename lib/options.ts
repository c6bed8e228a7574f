/** Reads the caller's options: once, up front, and strictly. */

import { Checkpoint } from "./archive.js";
import type { ArchiveSettings, PersistenceSettings } from "./archive.js";
import { DefaultNetworkAdapter } from "./default-adapter.js";
import { rangeError, typeError, unavailable, valueError } from "./errors.js";
import type { HostParts } from "./host.js";
import { HostCommands } from "./host-commands.js";
import { HostFunctionTable } from "./host-functions.js";
import { vmRequest } from "./native.js";
import type {
  NativeExecOptions,
  NativeFile,
  NativeLimits,
  NativeOs,
  NativePair,
  NativeUser,
  NativeVmOptions,
  VmRequest,
} from "./native.js";
import { packagesOf, readModules } from "./module-access.js";
import { readMount, readMounts } from "./mounts.js";
import type { MountSettings } from "./mounts.js";
import { readPermissions } from "./permissions.js";
import { readDns } from "./dns-options.js";
import type {
  CallOptions,
  Capture,
  ContextOptions,
  ExecOptions,
  ExposeOptions,
  GuestBody,
  GuestRequest,
  LimitWarning,
  ListenerQuery,
  NetworkAdapter,
  NodeRuntimeCreateOptions,
  OsConfig,
  OutputHook,
  SpawnOptions,
  StdioHook,
  UserConfig,
  WaitOptions,
} from "./types.js";
import { readVirtualFileSystem } from "./virtual-file-system.js";

/** Where programs start unless an option says otherwise. */
export const DEFAULT_CWD = "/workspace";
/** `os.tmpdir()` of guests. */
const TEMPORARY = "/tmp";
const KIB = 1024;
const MIB = 1024 * KIB;
/** What results keep of each stream by default. */
const DEFAULT_CAPTURE_BYTES = MIB;
/** Bytes of a response's body that `fetch` keeps by default. */
const DEFAULT_HTTP_BODY_BYTES = 64 * MIB;
/** How long `fetch` waits for an answer by default. */
const DEFAULT_FETCH_MS = 30_000;
/** How long `waitForListener` waits by default. */
const DEFAULT_WAIT_MS = 10_000;
/** What may cross at once by default, as text and as bytes. */
const DEFAULT_JSON_BYTES = 4 * MIB;
const DEFAULT_BINARY_BYTES = 16 * MIB;
/** The longest time that a limit can say; what a timer of Node's can count. */
const MAX_MS = 2 ** 31 - 1;

interface Range {
  min: number;
  max: number;
  integer: boolean;
  unit: string;
}

const MEMORY_MB: Range = { min: 16, max: 4096, integer: false, unit: " (MB)" };
const TIME_MS: Range = { min: 1, max: MAX_MS, integer: false, unit: " (milliseconds)" };
const PAYLOAD_BYTES: Range = { min: KIB, max: 64 * MIB, integer: true, unit: " (bytes)" };
const CAPTURE_BYTES: Range = { min: 1, max: 256 * MIB, integer: true, unit: " (bytes)" };
const COUNT: Range = { min: 1, max: 2 ** 32 - 1, integer: true, unit: "" };
const CODE_CACHE_BYTES: Range = { min: MIB, max: 4096 * MIB, integer: true, unit: " (bytes)" };
const DEPTH: Range = { min: 16, max: 65_536, integer: true, unit: "" };
const BYTES: Range = { min: 1, max: Number.MAX_SAFE_INTEGER, integer: true, unit: " (bytes)" };

/** Ranges of the budgets. */
const BUDGETS: Readonly<Record<string, Range>> = {
  maxOutputBytes: BYTES,
  maxBridgeCalls: COUNT,
  maxTimers: COUNT,
  maxChildProcesses: { ...COUNT, min: 0 },
  maxHandles: COUNT,
  maxOpenFds: COUNT,
  maxFilesystemBytes: BYTES,
  maxInodes: COUNT,
  maxDirectoryDepth: DEPTH,
  maxSockets: COUNT,
  maxConnections: COUNT,
  maxHttpBodyBytes: BYTES,
  maxParkedThreads: COUNT,
};
/** Budgets that are in force. Guests of this version cannot have what the others bound, so those hold by themselves. */
const NATIVE_BUDGETS = [
  "maxOutputBytes",
  "maxBridgeCalls",
  "maxTimers",
  "maxHandles",
  "maxChildProcesses",
  "maxOpenFds",
  "maxFilesystemBytes",
  "maxInodes",
  "maxDirectoryDepth",
  "maxSockets",
  "maxConnections",
  "maxParkedThreads",
] as const satisfies (keyof NativeLimits)[];

const CREATE_KEYS = [
  "memoryLimit",
  "cpuTimeLimitMs",
  "wallTimeLimitMs",
  "timingMitigation",
  "payloadLimits",
  "resourceBudgets",
  "files",
  "env",
  "cwd",
  "argv",
  "onStdio",
  "capture",
  "signal",
  "name",
  "isolation",
  "moduleAccess",
  "filesystem",
  "mounts",
  "nodeModules",
  "codeCache",
  "snapshot",
  "persistence",
  "permissions",
  "permissionTimeoutMs",
  "os",
  "user",
  "hostFunctions",
  "bindings",
  "commandExecutor",
  "onLimitWarning",
  "dns",
  "loopbackExemptPorts",
  "networkAdapter",
] as const satisfies (keyof NodeRuntimeCreateOptions)[];
const EXEC_KEYS = [
  "filePath",
  "env",
  "cwd",
  "argv",
  "stdin",
  "cpuTimeLimitMs",
  "wallTimeLimitMs",
  "timingMitigation",
  "onStdio",
  "capture",
  "signal",
  "context",
  "timeout",
  "onStdout",
  "onStderr",
] as const satisfies (keyof ExecOptions)[];
const CONTEXT_KEYS = [
  "env",
  "cwd",
  "argv",
  "cpuTimeLimitMs",
  "wallTimeLimitMs",
  "timingMitigation",
  "onStdio",
  "capture",
] as const satisfies (keyof ContextOptions)[];
const CALL_KEYS = [
  "cpuTimeLimitMs",
  "wallTimeLimitMs",
  "onStdio",
  "capture",
  "signal",
] as const satisfies (keyof CallOptions)[];
const SPAWN_KEYS = [
  ...EXEC_KEYS.filter((key) => key !== "context"),
  "tty",
] as const satisfies (keyof SpawnOptions)[];
const QUERY_KEYS = ["port", "host", "path"] as const satisfies (keyof ListenerQuery)[];
const WAIT_KEYS = ["timeoutMs", "signal"] as const satisfies (keyof WaitOptions)[];
const EXPOSE_KEYS = ["host", "port"] as const satisfies (keyof ExposeOptions)[];
const REQUEST_KEYS = [
  "method",
  "path",
  "headers",
  "body",
  "stream",
  "timeoutMs",
  "signal",
] as const satisfies (keyof GuestRequest)[];
const OS_KEYS = [
  "type",
  "release",
  "version",
  "machine",
  "hostname",
  "cpuModel",
  "cpuCount",
  "totalMemory",
  "freeMemory",
] as const satisfies (keyof OsConfig)[];
const USER_KEYS = ["username", "uid", "gid", "homedir", "shell"] as const satisfies (keyof UserConfig)[];
const PAYLOAD_KEYS = ["jsonPayloadBytes", "base64TransferBytes"] as const;

/** Own enumerable properties of an options object, read once each. */
type Bag = Record<string, unknown>;

/** No options. */
const NOTHING: Bag = Object.freeze({ __proto__: null }) as unknown as Bag;

function bag(value: unknown, where: string, known: readonly string[]): Bag {
  if (value === undefined) return NOTHING;
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw typeError(where, "an object", value);
  const copy: Bag = { __proto__: null } as unknown as Bag;
  for (const key of Object.keys(value)) {
    const item = (value as Bag)[key];
    if (!known.includes(key)) {
      throw valueError(`${where}.${key}`, `is not an option; known are ${known.join(", ")}`, item);
    } else if (item !== undefined) {
      copy[key] = item;
    }
  }
  return copy;
}

function number(value: unknown, option: string, range: Range): number {
  const kind = range.integer ? "an integer" : "a number";
  const text = `${kind} from ${range.min} to ${range.max}${range.unit}`;
  if (typeof value !== "number") throw typeError(option, text, value);
  if (!(value >= range.min && value <= range.max) || (range.integer && !Number.isInteger(value))) {
    throw rangeError(option, text, value);
  }
  return value;
}

function text(value: unknown, option: string): string {
  if (typeof value !== "string") throw typeError(option, "a string", value);
  if (value.includes("\0")) throw valueError(option, "must be a string without null bytes", value);
  return value;
}

function texts(value: unknown, option: string): string[] {
  if (!Array.isArray(value)) throw typeError(option, "an array of strings", value);
  return Array.from(value as unknown[], (item, index) => text(item, `${option}[${index}]`));
}

function absolutePath(value: unknown, option: string): string {
  const path = text(value, option);
  if (!path.startsWith("/")) throw valueError(option, "must be an absolute path", value);
  return path;
}

function environment(value: unknown, option: string): NativePair[] {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw typeError(option, "an object of strings", value);
  }
  return Object.entries(value).flatMap(([name, item]) => {
    if (item === undefined) return [];
    if (name === "" || name.includes("=") || name.includes("\0")) {
      throw valueError(`${option} name`, "must not be empty nor have = or null bytes", name);
    }
    return [{ name, value: text(item, `${option}.${name}`) }];
  });
}

/** Bytes of the caller's, copied. */
function bytes(value: unknown, option: string): Buffer {
  if (typeof value === "string") return Buffer.from(value, "utf8");
  if (value instanceof Uint8Array) return Buffer.from(value);
  throw typeError(option, "a string or a Uint8Array", value);
}

function fileList(value: unknown, option: string): NativeFile[] {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw typeError(option, "an object of strings or Uint8Arrays by path", value);
  }
  return Object.entries(value).map(([path, data]) => ({
    path: absolutePath(path, `${option} path`),
    data: bytes(data, `${option}[${JSON.stringify(path)}]`),
  }));
}

function hook<F = StdioHook>(value: unknown, option: string): F {
  if (typeof value !== "function") throw typeError(option, "a function", value);
  return value as F;
}

function freezes(value: unknown, option: string): boolean {
  if (value !== "freeze" && value !== "off") throw valueError(option, 'must be "freeze" or "off"', value);
  return value === "freeze";
}

/** Bytes of each stream to keep; 0 for none. */
function captureBytes(value: unknown, option: string): number {
  if (value === false) return 0;
  const { maxBytes } = bag(value as Capture, option, ["maxBytes"]);
  return number(maxBytes, `${option}.maxBytes`, CAPTURE_BYTES);
}

function abortSignal(value: unknown, option: string): AbortSignal {
  if (!(value instanceof AbortSignal)) throw typeError(option, "an AbortSignal", value);
  return value;
}

/** Text for a file of the machine's, such as `/etc/passwd`. */
function word(value: unknown, option: string): string {
  const given = text(value, option);
  if (given === "" || /[\0-\x1f:\x7f]/.test(given)) {
    throw valueError(option, "must not be empty nor have a colon or control characters", value);
  }
  return given;
}

const ID: Range = { min: 0, max: 2 ** 31 - 1, integer: true, unit: "" };
const CPUS: Range = { min: 1, max: 1024, integer: true, unit: "" };

function readOs(value: unknown): NativeOs {
  if (value === undefined) return {};
  const given = bag(value, "os", OS_KEYS);
  const os: NativeOs = {};
  const lineOf = (key: (typeof OS_KEYS)[number]): string => {
    const line = text(given[key], `os.${key}`);
    if (/[\x00-\x1f]/.test(line)) throw valueError(`os.${key}`, "must be one line", line);
    return line;
  };
  if ("type" in given) os.kind = lineOf("type");
  if ("release" in given) os.release = lineOf("release");
  if ("version" in given) os.version = lineOf("version");
  if ("machine" in given) os.machine = lineOf("machine");
  if ("hostname" in given) os.hostname = word(given["hostname"], "os.hostname");
  if ("cpuModel" in given) os.cpuModel = lineOf("cpuModel");
  if ("cpuCount" in given) os.cpuCount = number(given["cpuCount"], "os.cpuCount", CPUS);
  if ("totalMemory" in given) os.totalMemory = number(given["totalMemory"], "os.totalMemory", BYTES);
  if ("freeMemory" in given) os.freeMemory = number(given["freeMemory"], "os.freeMemory", BYTES);
  return os;
}

function readUser(value: unknown): NativeUser {
  if (value === undefined) return {};
  const given = bag(value, "user", USER_KEYS);
  const user: NativeUser = {};
  if ("username" in given) user.name = word(given["username"], "user.username");
  if ("uid" in given) user.uid = number(given["uid"], "user.uid", ID);
  if ("gid" in given) user.gid = number(given["gid"], "user.gid", ID);
  if ("homedir" in given) user.home = word(absolutePath(given["homedir"], "user.homedir"), "user.homedir");
  if ("shell" in given) user.shell = word(absolutePath(given["shell"], "user.shell"), "user.shell");
  return user;
}

/** What a runtime keeps of its options. */
export interface RuntimeSettings {
  vm: VmRequest;
  /** Where programs start. */
  cwd: string;
  host: HostParts;
  mounts: MountSettings[];
  /** What is written once all is mounted. */
  lateFiles: NativeFile[];
  /** Whether `/node_modules` leads to the overlay. */
  hasModuleFallback: boolean;
  persistence: PersistenceSettings | undefined;
  onStdio: StdioHook | undefined;
  captureBytes: number;
  maxHttpBodyBytes: number;
  networkAdapter: NetworkAdapter | undefined;
  signal: AbortSignal | undefined;
}

/** What a runtime without options has, once somebody made one. */
let plainSettings: RuntimeSettings | undefined;

/** Reads the options of `NodeRuntime.create`. */
export function readCreateOptions(options: unknown): RuntimeSettings {
  if (options !== undefined) return createSettings(bag(options, "options", CREATE_KEYS));
  plainSettings ??= createSettings(NOTHING);
  const { vm, host } = plainSettings;
  // What a runtime changes is its own.
  return { ...plainSettings, vm: { ...vm }, host: { ...host, functions: new HostFunctionTable() } };
}

function createSettings(given: Bag): RuntimeSettings {
  const limits: NativeLimits = {};
  if ("memoryLimit" in given) limits.memoryLimit = number(given["memoryLimit"], "memoryLimit", MEMORY_MB);
  Object.assign(limits, times(given));
  const payload = bag(given["payloadLimits"], "payloadLimits", PAYLOAD_KEYS);
  for (const key of PAYLOAD_KEYS) {
    if (key in payload) limits[key] = number(payload[key], `payloadLimits.${key}`, PAYLOAD_BYTES);
  }
  const budgets = bag(given["resourceBudgets"], "resourceBudgets", Object.keys(BUDGETS));
  for (const [key, value] of Object.entries(budgets)) number(value, `resourceBudgets.${key}`, BUDGETS[key] ?? COUNT);
  for (const key of NATIVE_BUDGETS) if (key in budgets) limits[key] = budgets[key] as number;
  if ("isolation" in given && given["isolation"] !== "thread") {
    if (given["isolation"] === "process" || typeof given["isolation"] === "object") {
      throw unavailable('isolation "process"', 'isolation "thread" is');
    }
    throw valueError("isolation", 'must be "thread"', given["isolation"]);
  }
  const mounts = "mounts" in given ? readMounts(given["mounts"]) : [];
  const modules = readModules(given["moduleAccess"], given["nodeModules"]);
  const user = readUser(given["user"]);
  const cwd = "cwd" in given ? absolutePath(given["cwd"], "cwd") : undefined;
  if ("filesystem" in given) {
    const fileSystem = readVirtualFileSystem(given["filesystem"], "filesystem");
    const root = readMount({ path: "/", source: fileSystem }, "filesystem");
    // What a VM needs is shown in it, not made: what is there is the caller's own.
    const directories = [cwd ?? DEFAULT_CWD, user.home, TEMPORARY, ...mounts.map(({ mount }) => mount.path)];
    Object.assign(root.request, { directories: directories.filter((path) => path !== undefined), packages: packagesOf(modules) });
    mounts.unshift(root);
  } else {
    mounts.push(...modules.mounts);
  }
  const files = "files" in given ? fileList(given["files"], "files") : [];
  const persistence = "persistence" in given ? readPersistence(given["persistence"]) : undefined;
  if (persistence !== undefined && "filesystem" in given) {
    throw valueError("persistence", "cannot be given with filesystem, which keeps its files itself", given["persistence"]);
  }
  // Files of the options are put over what is mounted, and are changes of what was loaded.
  const isLate = mounts.length > 0 || persistence !== undefined;
  const functions = new HostFunctionTable();
  for (const key of ["hostFunctions", "bindings"] as const) {
    if (key in given) functions.add(given[key], key);
  }
  const commands = "commandExecutor" in given ? new HostCommands(given["commandExecutor"], "commandExecutor") : undefined;
  const permissions = readPermissions(given["permissions"]);
  const { adapter, exemptPorts } = networkAdapter(given["networkAdapter"], "networkAdapter");
  const onLimitWarning =
    "onLimitWarning" in given ? hook<(warning: LimitWarning) => void>(given["onLimitWarning"], "onLimitWarning") : undefined;
  const vm: NativeVmOptions = {
    permissions: permissions.scopes,
    hostFunctions: functions.names,
    hostCommands: commands !== undefined,
    ...readDns(given["dns"]),
    loopbackExemptPorts: [...readPorts(given["loopbackExemptPorts"], "loopbackExemptPorts"), ...exemptPorts],
    hasWayOut: true,
    hasAdapter: adapter !== undefined,
    warns: onLimitWarning !== undefined,
    os: readOs(given["os"]),
    user,
    limits,
    freeze: "timingMitigation" in given ? freezes(given["timingMitigation"], "timingMitigation") : true,
    files: isLate ? [] : files,
    moduleRoots: modules.roots,
    codeCache: given["codeCache"] !== false,
    snapshot: [],
    env: "env" in given ? environment(given["env"], "env") : [],
    argv: "argv" in given ? texts(given["argv"], "argv") : [],
  };
  if ("codeCache" in given && given["codeCache"] !== false) {
    const { maxBytes } = bag(given["codeCache"], "codeCache", ["maxBytes"]);
    if (maxBytes !== undefined) vm.codeCacheBytes = number(maxBytes, "codeCache.maxBytes", CODE_CACHE_BYTES);
  }
  if (cwd !== undefined) vm.cwd = cwd;
  if ("name" in given) vm.name = text(given["name"], "name");
  if ("snapshot" in given) {
    vm.snapshot = archives(given["snapshot"]);
  }
  if ("permissionTimeoutMs" in given) {
    vm.permissionTimeoutMs = number(given["permissionTimeoutMs"], "permissionTimeoutMs", TIME_MS);
  }
  return {
    vm: vmRequest(vm),
    cwd: cwd ?? DEFAULT_CWD,
    mounts,
    lateFiles: isLate ? files : [],
    persistence,
    hasModuleFallback: modules.hasFallback && !("filesystem" in given),
    host: {
      permissions: permissions.callbacks,
      functions,
      commands,
      onLimitWarning,
      limits: {
        jsonPayloadBytes: limits.jsonPayloadBytes ?? DEFAULT_JSON_BYTES,
        base64TransferBytes: limits.base64TransferBytes ?? DEFAULT_BINARY_BYTES,
      },
    },
    onStdio: "onStdio" in given ? hook(given["onStdio"], "onStdio") : undefined,
    captureBytes: "capture" in given ? captureBytes(given["capture"], "capture") : DEFAULT_CAPTURE_BYTES,
    maxHttpBodyBytes: (budgets["maxHttpBodyBytes"] as number | undefined) ?? DEFAULT_HTTP_BODY_BYTES,
    networkAdapter: adapter,
    signal: "signal" in given ? abortSignal(given["signal"], "signal") : undefined,
  };
}

/** An adapter of the embedder's; the default one is the VM's own way out, with the ports that it exempts. */
function networkAdapter(value: unknown, option: string): { adapter: NetworkAdapter | undefined; exemptPorts: readonly number[] } {
  if (value === undefined) return { adapter: undefined, exemptPorts: [] };
  if (value instanceof DefaultNetworkAdapter) return { adapter: undefined, exemptPorts: value.exemptPorts };
  if (typeof value !== "object" || value === null) throw typeError(option, "an object", value);
  for (const name of ["fetch", "dnsLookup", "httpRequest"] as const) {
    const method = (value as Partial<Record<typeof name, unknown>>)[name];
    if (typeof method !== "function") throw typeError(`${option}.${name}`, "a function", method);
  }
  return { adapter: value as NetworkAdapter, exemptPorts: [] };
}

function times(given: Bag): { cpuTimeLimitMs?: number; wallTimeLimitMs?: number } {
  const limits: { cpuTimeLimitMs?: number; wallTimeLimitMs?: number } = {};
  for (const key of ["cpuTimeLimitMs", "wallTimeLimitMs"] as const) {
    if (key in given) limits[key] = number(given[key], key, TIME_MS);
  }
  if ("timeout" in given) limits.wallTimeLimitMs = number(given["timeout"], "timeout", TIME_MS);
  return limits;
}

/** What one program is run with. */
export interface ExecSettings {
  native: NativeExecOptions;
  onStdio: StdioHook | undefined;
  signal: AbortSignal | undefined;
  context: boolean;
}

/** What is absent in a program's options comes from here. */
export type Defaults = Pick<RuntimeSettings, "onStdio" | "captureBytes"> & {
  times?: { cpuTimeLimitMs?: number; wallTimeLimitMs?: number };
};

/** A program that is run for its end, one for its exports, and code for a context. */
export type Purpose = "exec" | "run" | "execute" | "evaluate";

const KEYS: Readonly<Record<Purpose, readonly string[]>> = {
  exec: EXEC_KEYS,
  run: EXEC_KEYS.filter((key) => key !== "context"),
  execute: CALL_KEYS,
  evaluate: CALL_KEYS,
};

/** Reads a program and its options. */
export function readExecOptions(code: unknown, options: unknown, defaults: Defaults, purpose: Purpose): ExecSettings {
  if (typeof code !== "string") throw typeError("code", "a string", code);
  const given = bag(options, "options", KEYS[purpose]);
  if ("context" in given && typeof given["context"] !== "boolean") {
    throw typeError("context", "a boolean", given["context"]);
  }
  const context = given["context"] === true;
  if (context) {
    for (const key of Object.keys(given)) {
      if (key !== "context" && !(CALL_KEYS as readonly string[]).includes(key)) {
        throw valueError(`options.${key}`, "cannot be given with context: true", given[key]);
      }
    }
  }
  const { native, onStdio, signal } = withStreamHooks(programSettings(given, defaults), given);
  native.code = code;
  native.wantExports = purpose === "run" || purpose === "evaluate";
  return { native, onStdio, signal, context };
}

/** `onStdout` and `onStderr` beside `onStdio`. */
function withStreamHooks<S extends Omit<ExecSettings, "context">>(settings: S, given: Bag): S {
  if (given === NOTHING) return settings;
  const { onStdout, onStderr } = given as { onStdout?: OutputHook; onStderr?: OutputHook };
  for (const [name, value] of Object.entries({ onStdout, onStderr })) {
    if (value !== undefined && typeof value !== "function") throw typeError(name, "a function", value);
  }
  if (onStdout === undefined && onStderr === undefined) return settings;
  const { onStdio, native } = settings;
  native.streamOutput = true;
  const both: StdioHook = (event) => {
    // What one of them throws, the others do not notice.
    try {
      (event.channel === "stdout" ? onStdout : onStderr)?.(event.data);
    } finally {
      onStdio?.(event);
    }
  };
  return { ...settings, onStdio: both };
}

/** Reads the options of `createContext`. */
export function readContextOptions(options: unknown, runtime: RuntimeSettings): { native: NativeExecOptions; defaults: Defaults } {
  const given = bag(options, "options", CONTEXT_KEYS);
  const { native, onStdio } = programSettings(given, runtime);
  return { native, defaults: { onStdio, captureBytes: native.captureBytes, times: times(given) } };
}

function programSettings(given: Bag, defaults: Defaults): Omit<ExecSettings, "context"> {
  const onStdio = "onStdio" in given ? hook(given["onStdio"], "onStdio") : defaults.onStdio;
  const native: NativeExecOptions = {
    code: "",
    wantExports: false,
    env: "env" in given ? environment(given["env"], "env") : [],
    captureBytes: "capture" in given ? captureBytes(given["capture"], "capture") : defaults.captureBytes,
    streamOutput: onStdio !== undefined,
    ...defaults.times,
  };
  if (given === NOTHING) return { native, onStdio, signal: undefined };
  Object.assign(native, times(given));
  if ("filePath" in given) native.filePath = text(given["filePath"], "filePath");
  if (native.filePath === "") throw valueError("filePath", "must not be empty", "");
  if ("cwd" in given) native.cwd = absolutePath(given["cwd"], "cwd");
  if ("argv" in given) native.argv = texts(given["argv"], "argv");
  if ("stdin" in given) native.stdin = bytes(given["stdin"], "stdin");
  if ("timingMitigation" in given) native.freeze = freezes(given["timingMitigation"], "timingMitigation");
  return { native, onStdio, signal: "signal" in given ? abortSignal(given["signal"], "signal") : undefined };
}

/** What one program is spawned with. */
export interface SpawnSettings {
  native: NativeExecOptions;
  onStdio: StdioHook | undefined;
  onStdout: OutputHook | undefined;
  onStderr: OutputHook | undefined;
  signal: AbortSignal | undefined;
}

/** Reads a program to spawn and its options. */
export function readSpawnOptions(code: unknown, options: unknown, defaults: Defaults): SpawnSettings {
  if (typeof code !== "string") throw typeError("code", "a string", code);
  const given = bag(options, "options", SPAWN_KEYS);
  const settings = programSettings(given, defaults);
  settings.native.code = code;
  settings.native.streamOutput = true;
  // A server may live as long as its runtime: only an option of its own limits its time.
  settings.native.wallTimeLimitMs ??= Number.POSITIVE_INFINITY;
  const { tty } = given;
  if (tty !== undefined && tty !== false) {
    if (settings.native.stdin !== undefined) throw valueError("stdin", "must not be given with tty", given["stdin"]);
    settings.native.tty = terminalSize(tty === true ? {} : tty, "tty");
  }
  const hooks = (["onStdout", "onStderr"] as const).map((key) =>
    key in given ? (hook(given[key], key) as unknown as OutputHook) : undefined,
  );
  return { ...settings, onStdout: hooks[0], onStderr: hooks[1] };
}

const CELLS: Range = { min: 1, max: 65_535, integer: true, unit: "" };

/** Reads the size of a terminal. */
export function terminalSize(value: unknown, option: string): { columns: number; rows: number } {
  const { columns = 80, rows = 24 } = bag(value, option, ["columns", "rows"]);
  return { columns: number(columns, `${option}.columns`, CELLS), rows: number(rows, `${option}.rows`, CELLS) };
}

/** Reads a port that a guest can have. */
export function readPort(value: unknown, option = "port", least = 1): number {
  const port = { min: least, max: 65_535, integer: true, unit: "" };
  try {
    return number(value, option, port);
  } catch (error) {
    throw error instanceof RangeError ? Object.assign(error, { code: "ERR_SOCKET_BAD_PORT" }) : error;
  }
}

function readPorts(value: unknown, option: string): number[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw typeError(option, "an array of ports", value);
  return Array.from(value as unknown[], (port, index) => readPort(port, `${option}[${index}]`));
}

/** Reads which listener is meant. */
export function readListenerQuery(value: unknown): ListenerQuery {
  const given = bag(value, "query", QUERY_KEYS);
  const query: ListenerQuery = {};
  if ("port" in given) query.port = readPort(given["port"], "query.port");
  if ("host" in given) query.host = text(given["host"], "query.host");
  if ("path" in given) query.path = text(given["path"], "query.path");
  if (Object.keys(query).length === 0) throw valueError("query", "must have a port, a host or a path", value);
  return query;
}

/** What to wait for, and how long. */
export interface ListenerSettings {
  query: ListenerQuery;
  timeoutMs: number;
  signal: AbortSignal | undefined;
}

/** Reads the arguments of `waitForListener`. */
export function readWaitOptions(query: unknown, options: unknown): ListenerSettings {
  const given = bag(options, "options", WAIT_KEYS);
  return {
    query: readListenerQuery(query),
    timeoutMs: "timeoutMs" in given ? number(given["timeoutMs"], "timeoutMs", TIME_MS) : DEFAULT_WAIT_MS,
    signal: "signal" in given ? abortSignal(given["signal"], "signal") : undefined,
  };
}

/** Where on the host a guest's port is to be found. */
export type ExposeSettings = Required<ExposeOptions>;

/** Reads the options of `expose`. */
export function readExposeOptions(options: unknown): ExposeSettings {
  const given = bag(options, "options", EXPOSE_KEYS);
  return {
    host: "host" in given ? text(given["host"], "host") : "127.0.0.1",
    port: "port" in given ? readPort(given["port"], "port", 0) : 0,
  };
}

/** One request to a guest's server. Node's own client checks its method, path and headers. */
export interface RequestSettings {
  method: string;
  path: string;
  headers: Record<string, string | string[]>;
  body: string | Uint8Array | AsyncIterable<string | Uint8Array> | undefined;
  stream: boolean;
  timeoutMs: number;
  signal: AbortSignal | undefined;
}

/** Reads a request. */
export function readRequest(value: unknown): RequestSettings {
  if (value instanceof Request) {
    const { pathname, search } = new URL(value.url);
    return {
      method: value.method,
      path: pathname + search,
      ...content(requestHeaders([...value.headers]), value.body ?? undefined),
      stream: false,
      timeoutMs: DEFAULT_FETCH_MS,
      signal: value.signal,
    };
  }
  const given = bag(value, "request", REQUEST_KEYS);
  const method = "method" in given ? text(given["method"], "method").toUpperCase() : "GET";
  if (method === "CONNECT") throw valueError("method", "must not be CONNECT: use connect()", method);
  const path = "path" in given ? text(given["path"], "path") : "/";
  if (!path.startsWith("/") && path !== "*") throw valueError("path", "must begin with /", path);
  if ("stream" in given && typeof given["stream"] !== "boolean") throw typeError("stream", "a boolean", given["stream"]);
  return {
    method,
    path,
    ...content("headers" in given ? requestHeaders(given["headers"]) : {}, given["body"]),
    stream: given["stream"] === true,
    timeoutMs: "timeoutMs" in given ? number(given["timeoutMs"], "timeoutMs", TIME_MS) : DEFAULT_FETCH_MS,
    signal: "signal" in given ? abortSignal(given["signal"], "signal") : undefined,
  };
}

/** Headers by lower-case name; several of one name stay several. */
function requestHeaders(value: unknown): Record<string, string | string[]> {
  if (typeof value !== "object" || value === null) throw typeError("headers", "an object, pairs or Headers", value);
  const pairs: unknown[] =
    Symbol.iterator in value ? Array.from(value as Iterable<unknown>) : Object.entries(value);
  const headers: Record<string, string | string[]> = Object.create(null);
  for (const pair of pairs) {
    if (!Array.isArray(pair) || pair.length !== 2) throw typeError("headers", "an object, pairs or Headers", pair);
    const [name, given] = pair as [unknown, unknown];
    if (typeof name !== "string") throw typeError("headers name", "a string", name);
    if (given === undefined) continue;
    for (const item of Array.isArray(given) ? (given as unknown[]) : [given]) {
      if (typeof item !== "string" && typeof item !== "number") throw typeError(`headers.${name}`, "a string", item);
      const key = name.toLowerCase();
      const known = headers[key];
      headers[key] = known === undefined ? String(item) : [known, String(item)].flat();
    }
  }
  return headers;
}

function content(
  headers: Record<string, string | string[]>,
  body: unknown,
): Pick<RequestSettings, "headers" | "body"> {
  if (body === undefined || body === null) return { headers, body: undefined };
  if (typeof body === "string" || body instanceof Uint8Array) return { headers, body };
  if (body instanceof ArrayBuffer) return { headers, body: new Uint8Array(body) };
  if (typeof body === "object" && Symbol.asyncIterator in body) {
    // Node frames bodies of some methods only when it knows their length.
    if (headers["content-length"] === undefined) headers["transfer-encoding"] = "chunked";
    return { headers, body: body as Exclude<GuestBody, ArrayBuffer> & AsyncIterable<string | Uint8Array> };
  }
  throw typeError("body", "a string, bytes, a ReadableStream or an async iterable", body);
}

/** What a snapshot may hold unless an option says otherwise. */
const DEFAULT_SNAPSHOT_BYTES = 1024 * MIB;
/** The most that one `Uint8Array` of Node 20 can hold. */
const SNAPSHOT_BYTES: Range = { min: 1, max: 4096 * MIB - 1, integer: true, unit: " (bytes)" };

/** Archives to start from: one, or a base and what changed after it. */
function archives(value: unknown): Buffer[] {
  if (value instanceof Uint8Array) return [Buffer.from(value)];
  if (!Array.isArray(value)) throw typeError("snapshot", "a Uint8Array or an array of them", value);
  return Array.from(value as unknown[], (archive, index) => {
    if (!(archive instanceof Uint8Array)) throw typeError(`snapshot[${index}]`, "a Uint8Array", archive);
    return Buffer.from(archive);
  });
}

/** Reads the option `persistence`. The adapter's methods are called on it. */
function readPersistence(value: unknown): PersistenceSettings {
  if (typeof value !== "object" || value === null) throw typeError("persistence", "an object with load and save", value);
  const { load, save, maxBytes, times } = value as Record<string, unknown>;
  if (typeof load !== "function") throw typeError("persistence.load", "a function", load);
  if (typeof save !== "function") throw typeError("persistence.save", "a function", save);
  if (times !== undefined && typeof times !== "boolean") throw typeError("persistence.times", "a boolean", times);
  return {
    load: load.bind(value) as PersistenceSettings["load"],
    save: save.bind(value) as PersistenceSettings["save"],
    maxBytes: maxBytes === undefined ? DEFAULT_SNAPSHOT_BYTES : number(maxBytes, "persistence.maxBytes", SNAPSHOT_BYTES),
    times: times === true,
  };
}

/** Reads the options of `snapshot`. */
export function readSnapshotOptions(options: unknown): ArchiveSettings {
  const given = bag(options, "options", ["path", "times", "maxBytes", "since"]);
  if ("times" in given && typeof given["times"] !== "boolean") throw typeError("times", "a boolean", given["times"]);
  const { since } = given;
  if (since !== undefined && !(since instanceof Checkpoint)) throw typeError("since", "a checkpoint", since);
  if (since !== undefined && "path" in given) throw valueError("path", "cannot be given with since", given["path"]);
  return {
    since,
    path: "path" in given ? absolutePath(given["path"], "path") : "/",
    times: given["times"] === true,
    maxBytes: "maxBytes" in given ? number(given["maxBytes"], "maxBytes", SNAPSHOT_BYTES) : DEFAULT_SNAPSHOT_BYTES,
  };
}
