/** Options of the third generation as those of `NodeRuntime.create` and its calls. */

import { typeError, unavailable, valueError } from "../errors.js";
import { FALLBACK_PATH, OVERLAY_PATHS } from "../module-access.js";
import type { HostFunctionDefinition, HostFunctions, Mount, NodeRuntimeCreateOptions } from "../types.js";
import type {
  HostDirMountConfig,
  HostFunctionCollection,
  HostFunctionCollections,
  LanguageExecutionOptions,
  MountConfig,
  VmLimits,
  VmOptions,
} from "./types.js";

const VM_KEYS = [
  "permissions",
  "mounts",
  "limits",
  "hostFunctions",
  "onLimitWarning",
  "highResolutionTime",
  "user",
  "loopbackExemptPorts",
  "dns",
] as const satisfies (keyof VmOptions)[];
/** Parts of a system that is not here; programs name them where they say what they do without. */
const IGNORED = ["sidecar", "software", "defaultSoftware", "scheduleDriver", "onAgentStderr", "onAgentExit"];
/** What a program would miss if it were ignored. */
const UNAVAILABLE = ["allowedNodeBuiltins", "database", "rootFilesystem", "sandbox"];
const CALL_KEYS = [
  "cwd",
  "env",
  "args",
  "stdin",
  "timeoutMs",
  "signal",
  "onStdout",
  "onStderr",
  "output",
  "inputs",
  "format",
  "filePath",
  "pty",
  "tsconfigPath",
  "compilerOptions",
];
/** Without what a call of a kind would do nothing with. */
export const CODE_KEYS = CALL_KEYS.filter((key) => key !== "pty");
export const FILE_KEYS = CODE_KEYS.filter((key) => key !== "inputs");
export const SPAWN_KEYS = CALL_KEYS.filter((key) => key !== "inputs" && key !== "output");
/** What results keep of each stream unless `limits.jsRuntime.capturedOutputLimitBytes` says otherwise. */
export const CAPTURED_BYTES = 16 << 20;
const NO_WALL_LIMIT_MS = 2 ** 31 - 1;
/** Where packages of the host lie in a VM, and where programs in every directory find them. */
const [, NODE_MODULES] = OVERLAY_PATHS;

/** Parts options of one call into those of the VM and those of the program. */
export function part<C extends object>(options: (C & VmOptions) | undefined): { vm: VmOptions; call: C } {
  if (options !== undefined && (typeof options !== "object" || options === null)) throw typeError("options", "an object", options);
  const vm: Record<string, unknown> = {};
  const call: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(options ?? {})) (CALL_KEYS.includes(key) ? call : vm)[key] = value;
  return { vm: vm as VmOptions, call: call as C };
}

/** Refuses what a call does not know. */
export function checkCall(options: object | undefined, known: readonly string[]): void {
  if (options === undefined) return;
  if (typeof options !== "object" || options === null) throw typeError("options", "an object", options);
  for (const [key, value] of Object.entries(options)) {
    if (!known.includes(key) && value !== undefined) throw valueError(`options.${key}`, "is not an option", value);
  }
}

/** What a VM is made of, and the names that its collections of functions have. */
export function readVmOptions(options: VmOptions | undefined): { create: NodeRuntimeCreateOptions; globals: string[] } {
  if (options !== undefined && (typeof options !== "object" || options === null)) throw typeError("options", "an object", options);
  const given = (options ?? {}) as VmOptions & Record<string, unknown>;
  for (const [key, value] of Object.entries(given)) {
    if (value === undefined || (VM_KEYS as readonly string[]).includes(key) || IGNORED.includes(key)) continue;
    if (UNAVAILABLE.includes(key)) throw unavailable(`the option ${key}`);
    throw valueError(`options.${key}`, "is not an option", value);
  }
  const { permissions, mounts, limits, hostFunctions, onLimitWarning, highResolutionTime, user, loopbackExemptPorts, dns } = given;
  const functions = readCollections(hostFunctions);
  const create: NodeRuntimeCreateOptions = { ...readLimits(limits), mounts: (mounts ?? []).flatMap(readMounts) };
  if (permissions !== undefined) create.permissions = permissions;
  if (onLimitWarning !== undefined) create.onLimitWarning = onLimitWarning;
  if (highResolutionTime !== undefined && typeof highResolutionTime !== "boolean") {
    throw typeError("highResolutionTime", "a boolean", highResolutionTime);
  }
  if (mounts !== undefined && !Array.isArray(mounts)) throw typeError("mounts", "a list", mounts);
  if (limits !== undefined && (typeof limits !== "object" || limits === null)) throw typeError("limits", "an object", limits);
  if (highResolutionTime === true) create.timingMitigation = "off";
  if (user !== undefined) create.user = user;
  if (loopbackExemptPorts !== undefined) create.loopbackExemptPorts = loopbackExemptPorts;
  if (dns !== undefined) create.dns = dns;
  create.hostFunctions = functions;
  return { create, globals: Object.keys(functions) };
}

function readCollections(collections: HostFunctionCollections | undefined): HostFunctions {
  if (collections === undefined) return {};
  if (typeof collections !== "object" || collections === null) throw typeError("hostFunctions", "collections", collections);
  if (!Array.isArray(collections)) return { ...(collections as Record<string, HostFunctions>) };
  const entries = (collections as readonly HostFunctionCollection[]).map((collection) => {
    if (typeof collection?.name !== "string") throw typeError("hostFunctions[].name", "a string", collection?.name);
    return [collection.name, collection.functions] as const;
  });
  return Object.fromEntries(entries) as HostFunctions;
}

function readLimits({ jsRuntime, resources, http }: VmLimits = {}): NodeRuntimeCreateOptions {
  const create: NodeRuntimeCreateOptions = {
    capture: { maxBytes: jsRuntime?.capturedOutputLimitBytes ?? CAPTURED_BYTES },
    // Time is that of the calls and of `limits`, as the CPU's is.
    wallTimeLimitMs: jsRuntime?.wallClockLimitMs === 0 ? NO_WALL_LIMIT_MS : (jsRuntime?.wallClockLimitMs ?? NO_WALL_LIMIT_MS),
  };
  if (jsRuntime?.v8HeapLimitMb !== undefined) create.memoryLimit = jsRuntime.v8HeapLimitMb;
  if (jsRuntime?.cpuTimeLimitMs !== undefined) create.cpuTimeLimitMs = jsRuntime.cpuTimeLimitMs;
  const budgets = {
    maxChildProcesses: resources?.maxProcesses,
    maxOpenFds: resources?.maxOpenFds,
    maxSockets: resources?.maxSockets,
    maxConnections: resources?.maxConnections,
    maxFilesystemBytes: resources?.maxFilesystemBytes,
    maxInodes: resources?.maxInodeCount,
    maxHttpBodyBytes: http?.maxFetchResponseBytes,
  };
  const known = Object.entries(budgets).filter(([, value]) => value !== undefined);
  create.resourceBudgets = Object.fromEntries(known) as NonNullable<NodeRuntimeCreateOptions["resourceBudgets"]>;
  return create;
}

/** A mount, and a second one of packages where programs outside `/root` find them. */
export function readMounts(config: MountConfig): Mount[] {
  if (typeof config !== "object" || config === null) throw typeError("mount", "an object", config);
  if ("source" in config) return [config];
  const { path } = config;
  if ("driver" in config) return [{ path, source: config.driver, readOnly: config.readOnly ?? false }];
  const { plugin } = config as HostDirMountConfig;
  if (plugin?.id !== "host_dir") throw unavailable(`mounting with the plugin ${String((plugin as { id?: unknown } | undefined)?.id)}`);
  if (typeof plugin.config !== "object" || plugin.config === null) throw typeError("mount.plugin.config", "an object", plugin.config);
  const { hostPath, readOnly } = plugin.config;
  // Guests write to the host's disk only where it is said.
  const writes = readOnly === false && (config.readOnly ?? false) === false;
  const mount = (at: string): Mount => ({ path: at, source: "host", hostPath, mode: writes ? "rw" : "ro" });
  return path === NODE_MODULES ? [mount(path), mount(FALLBACK_PATH)] : [mount(path)];
}

/** A directory of the host's for `mounts`; read-only unless `readOnly` is `false`. */
export function hostDirMount(path: string, hostPath: string, { readOnly = true }: { readOnly?: boolean } = {}): HostDirMountConfig {
  return { path, plugin: createHostDirBackend({ hostPath, readOnly }), readOnly };
}

/** The same without its path. */
export function createHostDirBackend({ hostPath, readOnly = true }: { hostPath: string; readOnly?: boolean }): HostDirMountConfig["plugin"] {
  return { id: "host_dir", config: { hostPath, readOnly } };
}

/** A `node_modules` of the host's for `mounts`. */
export function nodeModulesMount(hostPath: string, options?: { readOnly?: boolean }): HostDirMountConfig {
  return hostDirMount(NODE_MODULES, hostPath, options);
}

/** What stands before code, on its first line: its `inputs`, and globals for collections of functions. */
export function prelude(inputs: unknown, globals: readonly string[]): string {
  const lines = globals.map((name) => `globalThis.${name} ??= SecureExec.bindings.${name};`);
  if (inputs !== undefined && (typeof inputs !== "object" || inputs === null)) throw typeError("options.inputs", "an object", inputs);
  if (inputs !== undefined) lines.unshift(`globalThis.inputs = JSON.parse(${JSON.stringify(JSON.stringify(inputs))});`);
  return lines.join(" ");
}

/** Options that calls of both generations have. */
export function callOptions({ timeoutMs, signal, output, onStdout, onStderr }: LanguageExecutionOptions) {
  const capture = output?.capture ?? "all";
  if (!["none", "stderr", "all"].includes(capture)) throw typeError("output.capture", '"none", "stderr" or "all"', capture);
  for (const [name, value] of Object.entries({ onStdout, onStderr })) {
    if (value !== undefined && typeof value !== "function") throw typeError(`options.${name}`, "a function", value);
  }
  return {
    ...(timeoutMs === undefined ? {} : { wallTimeLimitMs: timeoutMs }),
    ...(signal === undefined ? {} : { signal }),
    ...(capture === "none" ? { capture: false as const } : {}),
    ...(onStdout === undefined && onStderr === undefined
      ? {}
      : {
          onStdio: ({ channel, data }: { channel: "stdout" | "stderr"; data: Uint8Array }) =>
            void (channel === "stdout" ? onStdout : onStderr)?.(data),
        }),
  };
}

/** A function of the host, as it is given: a place for its types to be checked. */
export function hostFunction<F extends HostFunctionDefinition>(definition: F): F {
  return definition;
}

/** A collection of them. */
export function hostFunctions<C extends HostFunctionCollection>(collection: C): C {
  return collection;
}
