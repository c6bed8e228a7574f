/**
 * The first generation's way to describe a VM: `createNodeDriver` says what it has, `new NodeRuntime` makes it.
 * Both are read here into the options of `NodeRuntime.create`.
 */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { DefaultNetworkAdapter } from "../default-adapter.js";
import { typeError, unavailable, valueError } from "../errors.js";
import { allow } from "../permissions.js";
import type { NodeRuntime } from "../runtime.js";
import type {
  Budgets,
  CommandExecutor,
  HostFunctions,
  ModuleAccess,
  NetworkAdapter,
  NetworkRequest,
  NodeRuntimeCreateOptions,
  PayloadLimits,
  PermissionCallback,
  PermissionOptions,
  StdioHook,
  TimingMitigation,
  VirtualFileSystem,
} from "../types.js";

/** What `process` says in guests. Values that the VM does not let anyone choose are accepted and change nothing. */
export interface ProcessConfig {
  /** Where programs start; `/root` by default. */
  cwd?: string;
  /** The environment, as far as `permissions.env` grants it. */
  env?: Record<string, string>;
  /** All of `process.argv`; what follows the program reaches it. */
  argv?: string[];
  stdin?: string;
  uid?: number;
  gid?: number;
  timingMitigation?: TimingMitigation;
  platform?: string;
  arch?: string;
  version?: string;
  execPath?: string;
  pid?: number;
  ppid?: number;
  frozenTimeMs?: number;
  stdinIsTTY?: boolean;
  stdoutIsTTY?: boolean;
  stderrIsTTY?: boolean;
  cols?: number;
  rows?: number;
}

/** What `node:os` says in guests. */
export interface OSConfig {
  type?: string;
  release?: string;
  version?: string;
  hostname?: string;
  homedir?: string;
  platform?: string;
  arch?: string;
  tmpdir?: string;
}

/** What {@link createNodeDriver} takes. */
export interface NodeDriverOptions {
  /** An empty tree in memory by default. */
  filesystem?: VirtualFileSystem;
  /** Packages of the host, read-only; those of `process.cwd()` where it is absent, none for `false` or `undefined`. */
  moduleAccess?: false | (ModuleAccess & { allowPackages?: string[] }) | undefined;
  /** Runs commands that the VM does not have. */
  commandExecutor?: CommandExecutor;
  /** What is absent is denied. */
  permissions?: PermissionOptions;
  /** The way out of the VM, and ports of guests' servers on the host's 127.0.0.1. */
  useDefaultNetwork?: boolean;
  /** What {@link createDefaultNetworkAdapter} gives is the same as `useDefaultNetwork`. One's own performs what guests ask of the outside. */
  networkAdapter?: NetworkAdapter;
  /** Ports of the host's loopback that guests may reach. */
  loopbackExemptPorts?: number[];
  processConfig?: ProcessConfig;
  osConfig?: OSConfig;
}

/** What of {@link NodeDriverOptions} has no property of its own in a {@link SystemDriver}. */
const DETAILS = Symbol("secure-exec driver");

/** A described VM. A copy with other properties describes another one. */
export interface SystemDriver {
  readonly filesystem?: VirtualFileSystem;
  /** Its network adapter. */
  readonly network?: NetworkAdapter;
  readonly commandExecutor?: CommandExecutor;
  readonly permissions?: PermissionOptions;
  readonly runtime: { readonly process: ProcessConfig; readonly os: OSConfig };
  /** @internal */
  readonly [DETAILS]?: Pick<NodeDriverOptions, (typeof DETAIL_KEYS)[number]>;
}

/** What {@link createNodeRuntimeDriverFactory} takes. */
export interface NodeRuntimeDriverFactoryOptions {
  /** Changes nothing: isolates are the runtime's own. */
  createIsolate?(memoryLimit: number): unknown;
}

/** Shows that a factory is ours; it has nothing to configure. */
export interface NodeRuntimeDriverFactory {
  readonly name: "node";
}

/** What `new NodeRuntime` and `NodeExecutionDriver` have in common. */
export type NodeRuntimeDriver = Pick<NodeRuntime, "exec" | "run" | "dispose" | "terminate">;

/** What `new NodeRuntime` takes. */
export interface NodeRuntimeOptions {
  systemDriver: SystemDriver;
  runtimeDriverFactory?: NodeRuntimeDriverFactory;
  /** MB; 128 by default. */
  memoryLimit?: number;
  /** CPU time of each program; the same wall time while it does not listen for connections. */
  cpuTimeLimitMs?: number;
  timingMitigation?: TimingMitigation;
  /** The only way to hear of output: results of such a runtime have none. */
  onStdio?: StdioHook;
  payloadLimits?: PayloadLimits;
  resourceBudgets?: Partial<Budgets>;
  bindings?: HostFunctions;
}

const DRIVER_KEYS = [
  "filesystem",
  "moduleAccess",
  "commandExecutor",
  "permissions",
  "useDefaultNetwork",
  "networkAdapter",
  "loopbackExemptPorts",
  "processConfig",
  "osConfig",
] as const satisfies (keyof NodeDriverOptions)[];
const DETAIL_KEYS = ["moduleAccess", "useDefaultNetwork", "loopbackExemptPorts"] as const satisfies (keyof NodeDriverOptions)[];
const SYSTEM_KEYS = ["filesystem", "network", "commandExecutor", "permissions", "runtime"] as const satisfies (keyof SystemDriver)[];
const RUNTIME_KEYS = [
  "systemDriver",
  "runtimeDriverFactory",
  "memoryLimit",
  "cpuTimeLimitMs",
  "timingMitigation",
  "onStdio",
  "payloadLimits",
  "resourceBudgets",
  "bindings",
] as const satisfies (keyof NodeRuntimeOptions)[];
const DEFAULT_CWD = "/root";
/** Scopes that the first generation knows. */
const SCOPES = ["fs", "network", "childProcess", "env"] as const;

/** The first generation has no limit unless it is given one; this one is longer than any program. */
const NO_LIMIT_MS = 2 ** 31 - 1;
const factory: NodeRuntimeDriverFactory = Object.freeze({ name: "node" });

function copyOf<T extends object>(value: unknown, option: string, known?: readonly string[]): T {
  if (value === undefined) return {} as T;
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw typeError(option, "an object", value);
  for (const key of known === undefined ? [] : Object.keys(value)) {
    if (!known?.includes(key)) throw valueError(`${option}.${key}`, `is not an option; known are ${known?.join(", ")}`, undefined);
  }
  return { ...value } as T;
}

/** Describes a VM for `new NodeRuntime`. */
export function createNodeDriver(options?: NodeDriverOptions): SystemDriver {
  const { networkAdapter, processConfig, osConfig, ...given } = copyOf<NodeDriverOptions>(options, "options", DRIVER_KEYS);
  // Who says `undefined` has turned it off; who says nothing has not thought of it.
  if ("moduleAccess" in given) given.moduleAccess ??= false;
  const process = Object.freeze(copyOf<ProcessConfig>(processConfig, "processConfig"));
  const os = Object.freeze(copyOf<OSConfig>(osConfig, "osConfig"));
  const details = Object.freeze(present(Object.fromEntries(DETAIL_KEYS.map((key) => [key, given[key]]))));
  const { filesystem, commandExecutor, permissions } = given;
  const parts = present({ filesystem, network: networkAdapter, commandExecutor, permissions });
  return Object.freeze({ ...parts, runtime: Object.freeze({ process, os }), [DETAILS]: details });
}

/** Reads a driver: what `createNodeDriver` gave, or an object of the same shape. */
function readDriver(value: unknown): NodeDriverOptions {
  const { runtime } = (value ?? {}) as Partial<SystemDriver>;
  if (typeof runtime !== "object" || runtime === null) throw typeError("systemDriver", "what createNodeDriver() gives", value);
  const { network, ...given } = copyOf<SystemDriver>(value, "systemDriver", SYSTEM_KEYS);
  const { filesystem, commandExecutor, permissions } = given;
  const options = present<NodeDriverOptions>({
    ...given[DETAILS],
    filesystem,
    commandExecutor,
    permissions,
    networkAdapter: network,
    processConfig: copyOf<ProcessConfig>(runtime.process, "processConfig"),
    osConfig: copyOf<OSConfig>(runtime.os, "osConfig"),
  });
  if (network instanceof DefaultNetworkAdapter) {
    options.useDefaultNetwork = true;
    options.loopbackExemptPorts = [...(options.loopbackExemptPorts ?? []), ...network.exemptPorts];
    delete options.networkAdapter;
  }
  return options;
}

/** The `runtimeDriverFactory` of `new NodeRuntime`. There is one way to run programs, so it has no options. */
export function createNodeRuntimeDriverFactory(_options?: NodeRuntimeDriverFactoryOptions): NodeRuntimeDriverFactory {
  return factory;
}

/** What `new NodeRuntime` means. */
export interface Described {
  create: NodeRuntimeCreateOptions;
  /** What programs read from their standard input. */
  stdin: string | undefined;
  /** Whether ports of guests are ports of the host's, too. */
  opensHostPorts: boolean;
}

/** Reads the options of the constructor. */
export function describe(options: unknown): Described {
  const given = copyOf<NodeRuntimeOptions>(options, "options", RUNTIME_KEYS);
  const driver = readDriver(given.systemDriver);
  if (given.runtimeDriverFactory !== undefined && given.runtimeDriverFactory !== factory) {
    throw unavailable("a runtimeDriverFactory of one's own", "createNodeRuntimeDriverFactory() is");
  }
  const { processConfig = {}, osConfig = {}, useDefaultNetwork = false } = driver;
  const create: NodeRuntimeCreateOptions = {
    permissions: permissions(driver),
    cwd: processConfig.cwd ?? DEFAULT_CWD,
    env: { ...processConfig.env },
    argv: processConfig.argv?.slice(2) ?? [],
    capture: false,
    os: present({ type: osConfig.type, release: osConfig.release, version: osConfig.version, hostname: osConfig.hostname }),
    user: present({ uid: processConfig.uid, gid: processConfig.gid, homedir: osConfig.homedir }),
  };
  const timing = given.timingMitigation ?? processConfig.timingMitigation;
  if (timing !== undefined) create.timingMitigation = timing;
  for (const key of ["memoryLimit", "cpuTimeLimitMs", "onStdio", "payloadLimits", "resourceBudgets", "bindings"] as const) {
    if (given[key] !== undefined) Object.assign(create, { [key]: given[key] });
  }
  create.wallTimeLimitMs = create.cpuTimeLimitMs ??= NO_LIMIT_MS;
  if (driver.loopbackExemptPorts !== undefined) create.loopbackExemptPorts = driver.loopbackExemptPorts;
  if (driver.networkAdapter !== undefined) create.networkAdapter = driver.networkAdapter;
  if (driver.filesystem !== undefined) create.filesystem = driver.filesystem;
  if (driver.commandExecutor !== undefined) create.commandExecutor = driver.commandExecutor;
  const access = moduleAccess(driver.moduleAccess);
  if (access !== undefined) create.moduleAccess = access;
  return { create, stdin: processConfig.stdin, opensHostPorts: useDefaultNetwork };
}

function present<T extends object>(values: { [K in keyof T]: T[K] | undefined }): T {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as T;
}

/** Without a checker a scope is denied; without a network adapter there is no way out. */
function permissions({ permissions: given, useDefaultNetwork, networkAdapter }: NodeDriverOptions): PermissionOptions {
  const known = copyOf<PermissionOptions>(given, "permissions");
  const all: PermissionOptions = { ...known };
  for (const scope of SCOPES) all[scope] ??= "deny";
  // Here the VM's own memory needs a permission as well, which only a rule that names it asks for.
  if (all.fs === "deny" || all.fs === false) all.fs = { rules: [{ mode: "deny", paths: ["/**"] }] };
  const { network } = all;
  if (useDefaultNetwork === true || networkAdapter !== undefined || network === "deny" || network === false) return all;
  if (typeof network !== "function" || network === allow) return { ...all, network: { default: "deny" } };
  const inside: PermissionCallback<NetworkRequest> = (request) =>
    request.internal ? network(request) : { allow: false, reason: "the VM has no network adapter" };
  return { ...all, network: inside };
}

/** Its default is the working directory of the host, whose `node_modules` need not exist. */
function moduleAccess(given: NodeDriverOptions["moduleAccess"]): NodeRuntimeCreateOptions["moduleAccess"] {
  if (given === false) return undefined;
  const { allowPackages: _, ...access } = given ?? {};
  const cwd = access.cwd ?? process.cwd();
  if (given?.cwd === undefined && given?.packageRoots === undefined && !existsSync(join(cwd, "node_modules"))) return undefined;
  return { ...access, cwd };
}
