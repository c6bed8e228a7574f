/** Types of the third generation: functions that make a VM for one call, and `createVm`. */

import type {
  FileStat,
  HostFunction,
  HostFunctionDefinition,
  LimitWarning,
  Mount,
  NodeRuntimeCreateOptions,
  PermissionOptions,
  VirtualFileSystem,
} from "../types.js";

export type JsonValue = null | boolean | number | string | JsonValue[] | { [key: string]: JsonValue };

export type ExecutionOutcome = "succeeded" | "failed" | "cancelled" | "timed_out";

/** Which streams a result holds; `"all"` by default. */
export type OutputCapture = "none" | "stderr" | "all";

export interface ExecutionOutputOptions {
  capture?: OutputCapture;
  /** Changes nothing: what was written is not kept beside the result. */
  retainEvents?: boolean;
}

/** What went wrong. */
export interface ExecutionErrorData {
  code: string;
  name: string;
  message: string;
  stack?: string;
}

interface Streams {
  exitCode?: number;
  stdout?: string;
  stderr?: string;
  stdoutTruncated?: boolean;
  stderrTruncated?: boolean;
}

type Failure = Streams & { outcome: Exclude<ExecutionOutcome, "succeeded">; error: ExecutionErrorData };

export type CodeExecutionResult = (Streams & { outcome: "succeeded"; error?: never }) | Failure;

export type CodeEvaluationResult<T = JsonValue> =
  | (Streams & { outcome: "succeeded"; error?: never; value: T })
  | (Failure & { value?: never });

/** How a program is run. */
export interface LanguageExecutionOptions {
  cwd?: string;
  env?: Record<string, string>;
  args?: string[];
  stdin?: string | Uint8Array;
  /** Wall time; without it that of the limits. */
  timeoutMs?: number;
  signal?: AbortSignal;
  onStdout?: (chunk: Uint8Array) => void;
  onStderr?: (chunk: Uint8Array) => void;
  output?: ExecutionOutputOptions;
}

export interface JavaScriptExecutionOptions extends LanguageExecutionOptions {
  /** JSON values that the code finds as `inputs`. */
  inputs?: Record<string, JsonValue>;
  /** `"commonjs"` makes a CommonJS program of it whatever it holds. */
  format?: "module" | "commonjs";
  filePath?: string;
}

export type JavaScriptEvaluationOptions = JavaScriptExecutionOptions;
/** How code is run in a context, whose directory, variables and arguments are those of its VM. */
export type ContextExecutionOptions = Pick<
  JavaScriptExecutionOptions,
  "inputs" | "timeoutMs" | "signal" | "onStdout" | "onStderr" | "output"
>;

/** How a program is started that goes on. */
export interface LanguageSpawnOptions extends Omit<LanguageExecutionOptions, "output"> {
  pty?: { cols?: number; rows?: number };
}

export interface ProcessDescriptor {
  pid: number;
  state: "running" | "exited";
  language?: "javascript";
  command?: string;
  startedAtMs: number;
}

export interface ProcessExit {
  pid: number;
  outcome: "exited" | "signalled" | "timed_out";
  exitCode?: number;
  signal?: NodeJS.Signals;
}

/** Functions of the host that guests find as a global of the collection's name. */
export interface HostFunctionCollection {
  name: string;
  description?: string;
  functions: Record<string, HostFunction | HostFunctionDefinition>;
}

export type HostFunctionCollections =
  | readonly HostFunctionCollection[]
  | Record<string, Record<string, HostFunction | HostFunctionDefinition>>;

/** What `hostDirMount` and `nodeModulesMount` give. */
export interface HostDirMountConfig {
  path: string;
  plugin: { id: "host_dir"; config: { hostPath: string; readOnly: boolean } };
  readOnly: boolean;
}

/** Something that is mounted: of the host's disk, a file system that the host wrote, or as `NodeRuntime` takes it. */
export type MountConfig = HostDirMountConfig | { path: string; driver: VirtualFileSystem; readOnly?: boolean } | Mount;

/** Limits of a VM. Those of parts that this package does not have are accepted and hold by themselves. */
export interface VmLimits {
  jsRuntime?: {
    v8HeapLimitMb?: number;
    cpuTimeLimitMs?: number;
    /** 0: none. */
    wallClockLimitMs?: number;
    capturedOutputLimitBytes?: number;
    [name: string]: number | undefined;
  };
  resources?: {
    maxProcesses?: number;
    maxOpenFds?: number;
    maxSockets?: number;
    maxConnections?: number;
    maxFilesystemBytes?: number;
    maxInodeCount?: number;
    [name: string]: number | undefined;
  };
  http?: { maxFetchResponseBytes?: number };
  [group: string]: Record<string, number | undefined> | undefined;
}

/** How a VM is made. */
export interface VmOptions extends Pick<NodeRuntimeCreateOptions, "user" | "loopbackExemptPorts" | "dns"> {
  /** Merged over what a VM has by itself: everything but the network outside. */
  permissions?: PermissionOptions;
  mounts?: MountConfig[];
  limits?: VmLimits;
  hostFunctions?: HostFunctionCollections;
  onLimitWarning?: (warning: LimitWarning) => void;
  /** Clocks that move while code runs, as `timingMitigation: "off"`. */
  highResolutionTime?: boolean;
}

export type ExecuteOptions = JavaScriptExecutionOptions & VmOptions;
export type EvaluateOptions = JavaScriptEvaluationOptions & VmOptions;
export type ExecuteFileOptions = LanguageExecutionOptions & VmOptions;

export interface HttpRequest {
  port: number;
  path?: string;
  method?: string;
  headers?: Record<string, string>;
  body?: string | Uint8Array;
}

export interface HttpResponse {
  status: number;
  statusText: string;
  headers: Record<string, string>;
  body: Uint8Array;
}

/** JavaScript state that lives from call to call. */
export interface VmContext {
  readonly contextId: string;
  execute(source: string, options?: ContextExecutionOptions): Promise<CodeExecutionResult>;
  evaluate<T = JsonValue>(source: string, options?: ContextExecutionOptions): Promise<CodeEvaluationResult<T>>;
  reset(): Promise<void>;
  dispose(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

export interface VmLanguage {
  execute(source: string, options?: JavaScriptExecutionOptions): Promise<CodeExecutionResult>;
  evaluate<T = JsonValue>(source: string, options?: JavaScriptEvaluationOptions): Promise<CodeEvaluationResult<T>>;
  executeFile(path: string, options?: LanguageExecutionOptions): Promise<CodeExecutionResult>;
  spawn(source: string, options?: LanguageSpawnOptions): Promise<ProcessDescriptor>;
  spawnFile(path: string, options?: LanguageSpawnOptions): Promise<ProcessDescriptor>;
}

/** A VM that lives until it is disposed of. Its files and processes stay from call to call. */
export interface Vm {
  readonly javascript: VmLanguage;
  /** The same: types are stripped, not checked. */
  readonly typescript: VmLanguage;
  readonly filesystem: {
    readFile(path: string): Promise<Uint8Array>;
    writeFile(path: string, content: string | Uint8Array): Promise<void>;
    readFiles(paths: string[]): Promise<{ path: string; content: Uint8Array | null; error?: string }[]>;
    writeFiles(entries: { path: string; content: string | Uint8Array }[]): Promise<{ path: string; success: boolean; error?: string }[]>;
    stat(path: string): Promise<FileStat>;
    mkdir(path: string, options?: { recursive?: boolean }): Promise<void>;
    readdir(path: string): Promise<string[]>;
    exists(path: string): Promise<boolean>;
    move(from: string, to: string): Promise<void>;
    remove(path: string, options?: { recursive?: boolean }): Promise<void>;
    mount(config: MountConfig): Promise<void>;
    unmount(path: string): Promise<void>;
    listMounts(): Promise<Mount[]>;
  };
  readonly network: { httpRequest(request: HttpRequest): Promise<HttpResponse> };
  readonly process: {
    /** Runs a command line in the VM's shell. */
    exec(command: string, options?: LanguageExecutionOptions): Promise<CodeExecutionResult>;
    execFile(command: string, args?: readonly string[], options?: Omit<LanguageExecutionOptions, "args">): Promise<CodeExecutionResult>;
    spawn(command: string, args?: readonly string[], options?: LanguageSpawnOptions): Promise<ProcessDescriptor>;
    get(pid: number): Promise<ProcessDescriptor>;
    list(): Promise<ProcessDescriptor[]>;
    wait(pid: number): Promise<ProcessExit>;
    signal(pid: number, signal: NodeJS.Signals): Promise<void>;
    kill(pid: number): Promise<void>;
    writeStdin(pid: number, data: string | Uint8Array): Promise<void>;
    closeStdin(pid: number): Promise<void>;
    resizePty(pid: number, size: { cols: number; rows: number }): Promise<void>;
  };
  createContext(): Promise<VmContext>;
  dispose(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}
