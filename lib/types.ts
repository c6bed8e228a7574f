/** Types of the public API. */

import type { Checkpoint } from "./archive.js";
import type { NativeReason } from "./native.js";

/** Why a program ended. */
export type EndReason = NativeReason;

/** Bytes that a guest wrote, as it wrote them. */
export interface StdioEvent {
  channel: "stdout" | "stderr";
  /** The text, without one trailing newline. A character whose bytes come in two writes appears with the second. */
  message: string;
  /** The bytes. */
  data: Uint8Array;
  /** The guest's process id. */
  pid: number;
}

export type StdioChannel = StdioEvent["channel"];

export type StdioHook = (event: StdioEvent) => void;

/** What is kept of standard output and standard error for the result. */
export type Capture = false | { /** Bytes of each stream. */ maxBytes: number };

export type TimingMitigation = "freeze" | "off";

/** What may leave the sandbox as a value. */
export interface PayloadLimits {
  /** Bytes of binary data; 1 KiB to 64 MiB, 16 MiB by default. */
  base64TransferBytes?: number;
  /** Bytes of everything else; 1 KiB to 64 MiB, 4 MiB by default. Regular expressions may have 64 KiB together in any case. */
  jsonPayloadBytes?: number;
}

/** What a VM and its processes may have of each thing. */
export interface Budgets {
  /** Bytes that a process may write to its standard streams; what is beyond is dropped and counted. */
  maxOutputBytes: number;
  /** Calls of a process to functions of the host; 1,000,000 by default. */
  maxBridgeCalls: number;
  /** Active timers and immediates of a process; 10,000 by default. */
  maxTimers: number;
  /** Processes that a guest started. */
  maxChildProcesses: number;
  /** Open handles of a process; 10,000 by default. */
  maxHandles: number;
  /** Open descriptors of a process; 1,024 by default. */
  maxOpenFds: number;
  /** Bytes in the VM's file system; 256 MiB by default. */
  maxFilesystemBytes: number;
  /** Files and directories of the VM; 131,072 by default. */
  maxInodes: number;
  /** Directories one below the other in the VM's memory; 1,024 by default. Deeper is `ENAMETOOLONG`. */
  maxDirectoryDepth: number;
  /** Open sockets of the VM; 4,096 by default. */
  maxSockets: number;
  /** Connections of the VM; 4,096 by default. */
  maxConnections: number;
  /** Bytes of a response that `fetch` keeps; 64 MiB by default. Streamed bodies have no limit. */
  maxHttpBodyBytes: number;
  /**
   * With so many parked threads in the host's process nothing more is started here; 32 by default. A thread is parked when
   * its guest is in code of V8's that cannot be interrupted. It uses no CPU, and keeps its memory until the host ends.
   */
  maxParkedThreads: number;
}

/** What `permissions` speaks of. */
export type PermissionScope = "fs" | "network" | "childProcess" | "process" | "env" | "hostFunction";

/**
 * Yes or no, with a reason that the guest sees. `private`: yes even though the address is not one of the public internet.
 */
export type PermissionDecision = boolean | { allow: boolean; reason?: string; private?: boolean };

/** Asked about each request of a scope; the guest waits. What throws, hangs or answers anything else is no. */
export type PermissionCallback<R> = (request: R) => PermissionDecision | Promise<PermissionDecision>;

/** One rule. What is absent matches everything. */
export interface PermissionRule {
  mode: "allow" | "deny";
  operations?: string[];
  /** Globs: `*` and `?` stop at `/`, `**` does not. `/data/**` is the directory and all that is in it. */
  paths?: string[];
  /** The same, also `tcp://host:port` and `dns://host`, names of variables, commands, and dotted names of functions. */
  patterns?: string[];
}

/** One rule about the network; all its fields must match. */
export interface NetworkRule extends PermissionRule {
  hosts?: string[];
  /** Ports and ranges such as `"8000-8999"`. */
  ports?: (number | string)[];
  methods?: string[];
  urlPattern?: string;
}

/** Rules of which the last that matches decides. */
export interface PermissionRules<R = PermissionRule> {
  /** What no rule decides; `"deny"` by default. */
  default?: "allow" | "deny";
  rules?: R[];
}

/** The same for paths. */
export interface FsPermissionRules extends PermissionRules {
  /** The error for a path that is denied. `"ENOENT"` hides whether something is there. */
  deniedAs?: "EACCES" | "ENOENT";
}

type Permission<Request, Rules = PermissionRules> = "allow" | "deny" | boolean | Rules | PermissionCallback<Request>;

export interface FsRequest {
  op: string;
  path: string;
}

export interface NetworkRequest {
  op: string;
  hostname: string;
  port: number;
  url?: string;
  method?: string;
  /** The address that is dialled, once it is known. */
  address?: string;
  /** Whether it stays inside the VM. */
  internal: boolean;
}

export interface ChildProcessRequest {
  op: string;
  command: string;
  args: string[];
  cwd: string;
  env: Record<string, string>;
}

export interface ProcessRequest {
  op: string;
  pid: number;
  signal?: number;
}

export interface EnvRequest {
  op: string;
  key: string;
  value: string;
}

export interface HostFunctionRequest {
  op: string;
  /** Its dotted path. */
  name: string;
}

/**
 * What guests may do beyond the VM's own memory. What the host itself put into the VM (variables, files, mounts,
 * functions) is granted by that, unless a scope takes it back; the network outside needs a grant.
 */
export interface PermissionOptions {
  fs?: Permission<FsRequest, FsPermissionRules>;
  network?: Permission<NetworkRequest, PermissionRules<NetworkRule>>;
  childProcess?: Permission<ChildProcessRequest>;
  process?: Permission<ProcessRequest>;
  env?: Permission<EnvRequest>;
  hostFunction?: Permission<HostFunctionRequest>;
  /** The same as `hostFunction`. */
  binding?: Permission<HostFunctionRequest>;
}

/** Permissions as functions, one a scope; the first generation knows no others. They can be spread into {@link PermissionOptions}. */
export interface Permissions {
  fs?: PermissionCallback<FsRequest>;
  network?: PermissionCallback<NetworkRequest>;
  childProcess?: PermissionCallback<ChildProcessRequest>;
  env?: PermissionCallback<EnvRequest>;
}

/** What the machine says of itself. */
export interface OsConfig {
  /** `os.type()`; `"Linux"` by default. */
  type?: string;
  release?: string;
  version?: string;
  machine?: string;
  hostname?: string;
  /** Model and number of `os.cpus()`. */
  cpuModel?: string;
  cpuCount?: number;
  /** Bytes of `os.totalmem()` and `os.freemem()`. */
  totalMemory?: number;
  freeMemory?: number;
}

/** Who programs run as. */
export interface UserConfig {
  username?: string;
  uid?: number;
  gid?: number;
  /** Made at start. */
  homedir?: string;
  shell?: string;
}

/** A limit of which 80 % are in use. Told once for each limit of each program. */
export interface LimitWarning {
  /** The option that sets it. */
  limit: string;
  used: number;
  max: number;
}

/** A function of the host. Arguments and result are copied. */
export type HostFunction = (...args: any[]) => unknown;

/** A function of the host with how it is called. */
export interface HostFunctionDefinition {
  handler?: HostFunction;
  /** The same as `handler`. */
  execute?: HostFunction;
  /** Milliseconds that one call may take; 30,000 by default. */
  timeout?: number;
  /** Something with `parse` or `parseAsync`, such as a schema of zod's: checks the first argument. */
  inputSchema?: unknown;
  description?: string;
  examples?: unknown;
}

/** A tree of functions; names are identifiers. */
export interface HostFunctions {
  [name: string]: HostFunction | HostFunctionDefinition | HostFunctions;
}

/** How a command of the host is started. Paths are the guest's. */
export interface CommandOptions {
  cwd?: string;
  env?: Record<string, string>;
  /** Whether input comes while the command runs. It always does. */
  streamStdin?: boolean;
  /** Takes what the command writes. While an answered promise is pending the guest has not taken it yet. */
  onStdout?: (data: Uint8Array) => void | Promise<void>;
  onStderr?: (data: Uint8Array) => void | Promise<void>;
}

/** A command of the host that runs. */
export interface CommandProcess {
  /** The guest's next write waits for an answered promise. */
  writeStdin(data: Uint8Array | string): void | Promise<void>;
  closeStdin(): void | Promise<void>;
  /** SIGTERM without a number. */
  kill(signal?: number): void | Promise<void>;
  /** Its exit code, once it has ended and told all of its output. */
  wait(): Promise<number>;
}

/**
 * Runs commands on the host that a VM does not have itself. Asked after the permission `childProcess`. What it throws is
 * the guest's error, by its `code`.
 */
export interface CommandExecutor {
  spawn(command: string, args: string[], options: CommandOptions): CommandProcess | Promise<CommandProcess>;
}

export type FileType = "file" | "directory" | "symlink" | "device" | "fifo" | "socket";

/** What is known of a file. */
export interface FileStat {
  type: FileType;
  /** Type and permission bits. */
  mode: number;
  size: number;
  ino: number;
  nlink: number;
  uid: number;
  gid: number;
  isFile: boolean;
  isDirectory: boolean;
  isSymbolicLink: boolean;
  atimeMs: number;
  mtimeMs: number;
  ctimeMs: number;
  birthtimeMs: number;
}

/** One name in a directory. */
export interface HostDirEntry {
  name: string;
  type: FileType;
  isFile: boolean;
  isDirectory: boolean;
  isSymbolicLink: boolean;
}

/** What a {@link VirtualFileSystem} says of a file. */
export interface VirtualStat {
  mode: number;
  size: number;
  isDirectory: boolean;
  isSymbolicLink?: boolean;
  atimeMs: number;
  mtimeMs: number;
  ctimeMs: number;
  birthtimeMs: number;
  ino?: number;
  nlink?: number;
  uid?: number;
  gid?: number;
}

/**
 * A file system that the host writes. Paths are absolute from its own root. Errors need a `code` such as `ENOENT`, or a
 * message that begins with one. Guests use it through `node:fs`, synchronously too: the guest waits for the answer.
 */
export interface VirtualFileSystem {
  readFile(path: string): Promise<Uint8Array>;
  readTextFile(path: string): Promise<string>;
  readDir(path: string): Promise<string[]>;
  readDirWithTypes(path: string): Promise<{ name: string; isDirectory: boolean; isSymbolicLink?: boolean }[]>;
  writeFile(path: string, data: string | Uint8Array): Promise<void>;
  createDir(path: string): Promise<void>;
  mkdir(path: string, options?: { recursive?: boolean }): Promise<void>;
  exists(path: string): Promise<boolean>;
  stat(path: string): Promise<VirtualStat>;
  removeFile(path: string): Promise<void>;
  removeDir(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  symlink(target: string, path: string): Promise<void>;
  readlink(path: string): Promise<string>;
  lstat(path: string): Promise<VirtualStat>;
  link(existing: string, path: string): Promise<void>;
  chmod(path: string, mode: number): Promise<void>;
  chown(path: string, uid: number, gid: number): Promise<void>;
  /** Times are seconds. */
  utimes(path: string, atime: number, mtime: number): Promise<void>;
  truncate(path: string, length: number): Promise<void>;
  realpath?(path: string): Promise<string>;
  /** Reads part of a file; fewer bytes at its end. Without it files are read whole. */
  pread?(path: string, offset: number, length: number): Promise<Uint8Array>;
  /** Writes part of a file. Without it files are written whole. */
  pwrite?(path: string, offset: number, data: Uint8Array): Promise<void>;
  /**
   * Calls `listener` when something happens at a path or in a directory, until what it answers is closed. Without it
   * `fs.watch` there is `ENOSYS`.
   */
  watch?(path: string, listener: (event: WatchEvent) => void): FileWatch | Promise<FileWatch>;
}

/** Something that happened to a file, or in a directory. */
export interface WatchEvent {
  /** `"rename"`: a name came, went or changed; `"change"`: contents or attributes did. */
  eventType: "rename" | "change";
  /** The name in the directory that is watched, or the file's own. */
  filename: string;
}

/** A watch that runs. */
export interface FileWatch {
  /** Ends it. Idempotent. */
  close(): void | Promise<void>;
}

/** Something that is put over a directory of the VM (made if it is missing), live for guests and host. */
export type Mount =
  /** An empty tree in the VM's memory. */
  | { path: string; source: "memory"; readOnly?: boolean }
  /**
   * A directory of the host's disk: `ro` never changes, `rw` changes in place, `cow` keeps changes in the VM's memory.
   * Links in it are walked in the VM's tree: none leads out. With `rw`, `maxBytes` (16 GiB) and `maxEntries` (1,048,576) are
   * what guests may write and make there in the mount's life; then it is `ENOSPC`.
   */
  | { path: string; source: "host"; hostPath: string; mode: "ro" | "rw" | "cow"; maxBytes?: number; maxEntries?: number }
  /** What is in an archive; changes are the VM's own. */
  | { path: string; source: "tar"; data: Uint8Array; readOnly?: boolean }
  /** A file system that the host wrote. */
  | { path: string; source: VirtualFileSystem; readOnly?: boolean };

/** A directory of the host's disk in fewer words: read-only unless `readOnly` is `false`. */
export interface HostDirectoryMount {
  guestPath: string;
  hostPath: string;
  readOnly?: boolean;
}

/** Modules of the host's disk, read-only at `/app/node_modules` and `/root/node_modules`, found from every directory. */
export interface ModuleAccess {
  /** Its `node_modules` is what guests see; `process.cwd()` by default. */
  cwd?: string;
  /** Further directories, at places in a `node_modules`. */
  packageRoots?: { hostPath: string; vmPath: string }[];
}

/** How a snapshot is taken. */
export interface SnapshotOptions {
  /** The directory that it is taken of; `/` by default. */
  path?: string;
  /** Whether modification times go along: without them equal files make equal bytes. */
  times?: boolean;
  /** Bytes of all files together; more is an error. 1 GiB by default. */
  maxBytes?: number;
  /** Only what changed since then: what went comes first, as character devices 0, 0. Not together with `path`. */
  since?: Checkpoint;
}

/** What an adapter has kept: a tar archive, or nothing yet. */
export type PersistedArchive = Uint8Array | AsyncIterable<Uint8Array> | null | undefined;

/** Keeps a runtime's files between its lives. */
export interface PersistenceAdapter {
  /** Called once, by `create`. With nothing to load the runtime starts from `snapshot`, if that is given. */
  load(): PersistedArchive | Promise<PersistedArchive>;
  /**
   * Called by `persist()`, and by `dispose()` when all programs have ended, unless nothing changed. The archive must be
   * read to its end; a rejection rejects that call with `ERR_PERSISTENCE_FAILED`.
   */
  save(archive: ReadableStream<Uint8Array>): void | Promise<void>;
  /** Bytes of all files together; more is an error. 1 GiB by default. */
  maxBytes?: number;
  /** Whether modification times go along: without them equal files make equal bytes. */
  times?: boolean;
}

/** How guests find the addresses of names. */
export interface DnsOptions {
  /**
   * DNS servers that are asked, `"192.0.2.1"` or `"192.0.2.1:53"`; the host's own resolver by default. Only names that
   * `permissions.network` allows are asked for.
   */
  servers?: string[];
  /** Addresses of names, before anything else is asked. */
  overrides?: Record<string, string[]>;
}

/** One HTTP request of {@link NetworkAdapter}. */
export interface NetworkRequestInit {
  /** `"GET"` by default. */
  method?: string;
  headers?: Record<string, string>;
  body?: string | Uint8Array | null;
}

/** Its answer. */
export interface NetworkHttpResponse {
  status: number;
  statusText: string;
  /** By lower-case name. */
  headers: Record<string, string>;
  /** Text, or base64 where the header `x-body-encoding` says so. */
  body: string;
  url: string;
}

/** The answer of {@link NetworkAdapter.fetch}. */
export interface NetworkFetchResponse extends NetworkHttpResponse {
  ok: boolean;
  redirected: boolean;
}

/** The answer of {@link NetworkAdapter.dnsLookup}. */
export type DnsLookupResult = { address: string; family: number } | { error: string; code: string };

/**
 * What `runtime.network` is made of, and what an embedder may give to perform requests of guests: `fetch` those of `fetch`,
 * `httpRequest` those of all other clients. A guest's body is text where it is UTF-8. Whatever it throws is an error of
 * the guest's connection, with its `code`.
 */
export interface NetworkAdapter {
  /** Follows redirects. */
  fetch(url: string, init: NetworkRequestInit): Promise<NetworkFetchResponse>;
  dnsLookup(hostname: string): Promise<DnsLookupResult>;
  /** Follows none. */
  httpRequest(url: string, init: NetworkRequestInit): Promise<NetworkHttpResponse>;
}

/** `runtime.network`. */
export interface RuntimeNetwork extends NetworkAdapter {
  fetch(url: string, init?: NetworkRequestInit): Promise<NetworkFetchResponse>;
  httpRequest(url: string, init?: NetworkRequestInit): Promise<NetworkHttpResponse>;
}

/** How a runtime is made. Options are copied: changing the object later changes nothing. */
export interface NodeRuntimeCreateOptions {
  /** MB of V8 heap, ArrayBuffers and what is held for the guest; 16 to 4096, 128 by default. */
  memoryLimit?: number;
  /** CPU time of a program; 30,000 by default. */
  cpuTimeLimitMs?: number;
  /** Wall time of a program; ten times the CPU limit by default. */
  wallTimeLimitMs?: number;
  /** `"freeze"`, the default: no clock of the guest moves while its code runs. `"off"`: real ones, and `SharedArrayBuffer`. */
  timingMitigation?: TimingMitigation;
  payloadLimits?: PayloadLimits;
  resourceBudgets?: Partial<Budgets>;
  /** Files by absolute path; parents are made. */
  files?: Record<string, string | Uint8Array>;
  /** The guest's whole environment. */
  env?: Record<string, string>;
  /** Where programs start; `/workspace` by default. */
  cwd?: string;
  /** `process.argv` after the program. */
  argv?: string[];
  /** Hears of output as it is written. An exception in it is ignored. */
  onStdio?: StdioHook;
  /** What results keep of the standard streams; 1 MiB of each by default. */
  capture?: Capture;
  /** Disposes of the runtime when it fires. */
  signal?: AbortSignal;
  /** A name for reports. */
  name?: string;
  /** This version runs guests on threads of the host's process. */
  isolation?: "thread";
  /** Off by default. */
  moduleAccess?: false | ModuleAccess;
  /** A `node_modules` of the host's disk, read-only at `/node_modules` or `guestPath`. */
  nodeModules?: string | { hostPath: string; guestPath?: string };
  /**
   * V8's compiled code of modules in read-only mounts is kept in this OS process, by the hash of their text, for the next
   * program that loads them. `false`: not for this runtime. `maxBytes` is for all runtimes together; 64 MiB at first.
   */
  codeCache?: false | { maxBytes?: number };
  /** Files to start from: what `snapshot()` gave, or any tar archive; or one and then what changed after it, in order. */
  snapshot?: Uint8Array | Uint8Array[];
  /** Loads the files and saves them. `files` are written over what was loaded. */
  persistence?: PersistenceAdapter;
  /** Takes the place of the VM's own tree at `/`, but for `/dev` and `/proc`. */
  filesystem?: VirtualFileSystem;
  mounts?: (Mount | HostDirectoryMount)[];
  permissions?: PermissionOptions;
  /** Milliseconds that a function of `permissions` may take; 30,000 by default. */
  permissionTimeoutMs?: number;
  os?: OsConfig;
  user?: UserConfig;
  /** Functions that guests call as `await SecureExec.bindings.name(...)` or `await callHostFunction("name", ...)`. */
  hostFunctions?: HostFunctions;
  /** The same. */
  bindings?: HostFunctions;
  /** Runs commands that the VM does not have; without one they are `ENOENT`. */
  commandExecutor?: CommandExecutor;
  /** Hears when 80 % of a limit are in use. An exception in it is ignored. */
  onLimitWarning?: (warning: LimitWarning) => void;
  /** Names of the network outside. */
  dns?: DnsOptions;
  /**
   * Performs what guests ask of the outside over HTTP, `https:` included, and what `runtime.network` is asked; each
   * request only after `permissions.network`. Nothing else leads out then but `loopbackExemptPorts`. Which addresses a name
   * may lead to is for the adapter to guard.
   */
  networkAdapter?: NetworkAdapter;
  /**
   * Ports of the host's loopback. A guest that connects to such a port of its own loopback reaches the host's, unless the
   * VM itself listens there. `permissions.network: "deny"` and rules that name them take them back.
   */
  loopbackExemptPorts?: number[];
}

/** How one program is run. */
export interface ExecOptions {
  /**
   * The path it stands at in the guest; its extension tells the language. JSX (`.tsx`, `.jsx`) is of the program itself, not
   * of what it imports: calls of its own `React`, else of `react/jsx-runtime`.
   */
  filePath?: string;
  /** Variables over those of the runtime. */
  env?: Record<string, string>;
  cwd?: string;
  argv?: string[];
  /** What its standard input holds. */
  stdin?: string | Uint8Array;
  cpuTimeLimitMs?: number;
  wallTimeLimitMs?: number;
  timingMitigation?: TimingMitigation;
  onStdio?: StdioHook;
  capture?: Capture;
  /** Ends the program with reason `"aborted"` when it fires. */
  signal?: AbortSignal;
  /** Runs in the runtime's default context, whose variables persist; calls are queued in order. */
  context?: boolean;
  /** Of the first generation; changes nothing. */
  mode?: "exec" | "run";
  /** The same as `wallTimeLimitMs`. */
  timeout?: number;
  /** Hear of output as it is written. An exception in them is ignored. */
  onStdout?: OutputHook;
  onStderr?: OutputHook;
}

/** How one module is run. */
export type RunOptions = Omit<ExecOptions, "context" | "mode">;

/** How a context is made. The time limits, hook and capture are those of its calls, unless a call says otherwise. */
export type ContextOptions = Omit<ExecOptions, "context" | "mode" | "stdin" | "filePath" | "signal" | "timeout" | "onStdout" | "onStderr">;

/** How one piece of code is run in a context. */
export type CallOptions = Pick<
  ExecOptions,
  "cpuTimeLimitMs" | "wallTimeLimitMs" | "onStdio" | "capture" | "signal"
>;

/** What a program used. */
export interface ExecUsage {
  cpuMs: number;
  wallMs: number;
  peakHeapBytes: number;
}

/** An error that ended a program, as text. */
export interface GuestErrorInfo {
  name: string;
  message: string;
  stack: string;
  code?: string;
}

/** How a program ended. */
export interface ExecResult {
  /** Exit code; 1 for an uncaught error, 124 for a time limit, 137 for the memory limit, 128 + n for signal n. */
  code: number;
  /** The same. */
  exitCode: number;
  reason: EndReason;
  /** The signal that ended it. */
  signal?: NodeJS.Signals;
  /** One line on what went wrong. */
  errorMessage?: string;
  error?: GuestErrorInfo;
  /** Captured output, with invalid UTF-8 replaced. */
  stdout?: string;
  stderr?: string;
  /** Whether it wrote more than was kept. */
  stdoutTruncated?: boolean;
  stderrTruncated?: boolean;
  usage: ExecUsage;
}

/** How a module ended, and what it exports. */
export interface RunResult<T = unknown> extends ExecResult {
  /** Its namespace or `module.exports`, when it ran to its end. */
  exports?: T;
}

/** How a piece of code ended, and its value. */
export interface EvaluateResult<T = unknown> extends ExecResult {
  /** What its last expression gave, awaited. */
  value?: T;
}

/** Counters of a runtime. */
export interface RuntimeStats {
  /** Programs that run now. */
  processes: number;
  /** Programs that ended. */
  completed: number;
  /** CPU time of programs that ended. */
  cpuMs: number;
  /** The sum of their wall times. */
  wallMs: number;
  /** The highest of their heap peaks. */
  peakHeapBytes: number;
  files: { bytes: number; inodes: number };
  /** V8's heaps of programs that run, as of their last collections. */
  heapBytes: number;
  /** Their buffers, WebAssembly memories and what is held for them. */
  externalBytes: number;
  sockets: { open: number; connections: number };
  /** Bytes of output of programs that ended. */
  outputBytes: number;
  /** The cache of compiled code, which is that of all runtimes: sources in it, its size, uses, and sources on their way. */
  codeCache: { entries: number; bytes: number; hits: number; waiting: number };
  /** Bytes of output that results did not keep. */
  droppedOutputBytes: number;
}

/** The names of the first generation. */
export type ResourceBudgets = Partial<Budgets>;
export type ModuleAccessOptions = ModuleAccess & { allowPackages?: string[] };
export type BindingFunction = (...args: any[]) => unknown;
export interface BindingTree {
  [name: string]: BindingFunction | BindingTree;
}
export type StatInfo = VirtualStat;
export interface DirEntry {
  name: string;
  isDirectory: boolean;
  isSymbolicLink?: boolean;
}

export type OutputHook = (data: Uint8Array) => void;

/** How a program is spawned. There is no wall limit unless `wallTimeLimitMs` says so. */
export interface SpawnOptions extends Omit<ExecOptions, "context" | "mode"> {
  /**
   * Its standard streams are a terminal, of 80 columns and 24 rows unless it says otherwise: what is written to `stdin`
   * is typed, all output is that of `stdout`, and ending `stdin` hangs up.
   */
  tty?: boolean | TerminalSize;
}

/** What a terminal shows at once. */
export interface TerminalSize {
  columns?: number;
  rows?: number;
}

/** Which listener is meant; what is absent does not matter. */
export interface ListenerQuery {
  port?: number;
  /** An address that reaches it. */
  host?: string;
  /** The path of a local socket. */
  path?: string;
}

/** How a listener is waited for. */
export interface WaitOptions {
  /** 10,000 by default. */
  timeoutMs?: number;
  signal?: AbortSignal;
}

/** A socket of a guest that takes connections. */
export interface Listener {
  /** Its process. */
  pid: number;
  /** The same. */
  processId: number;
  /** Its port; 0 for a local socket. */
  port: number;
  /** The address that it is bound to. */
  host?: string;
  /** The path of a local socket. */
  path?: string;
}

/** The body of a request. A stream is read as fast as the guest takes it. */
export type GuestBody = string | Uint8Array | ArrayBuffer | ReadableStream<Uint8Array> | AsyncIterable<string | Uint8Array>;

/** A request to a guest's server. */
export interface GuestRequest {
  /** `GET` by default. */
  method?: string;
  /** With its query; `/` by default. */
  path?: string;
  headers?: Record<string, string | number | readonly string[] | undefined> | Iterable<readonly [string, string]>;
  body?: GuestBody;
  /** Resolve with the head of the response; its body is read with `stream()`. Always so for `text/event-stream`. */
  stream?: boolean;
  /** Time for the response, or for its head when the body is streamed; 30,000 by default. */
  timeoutMs?: number;
  signal?: AbortSignal;
}

/** Where on the host a guest's port is to be found. */
export interface ExposeOptions {
  /** `127.0.0.1` by default. */
  host?: string;
  /** 0, the default: any that is free. */
  port?: number;
}

/** A port of the host's that leads to a guest. */
export interface Exposed {
  url: string;
  host: string;
  port: number;
  /** Closes the port and its connections. */
  close(): Promise<void>;
}
