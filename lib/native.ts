/** The addon: its types, and where it is found. */

import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { SecureExecError } from "./errors.js";

export interface NativePair {
  name: string;
  value: string;
}

export interface NativeFile {
  path: string;
  data: Buffer;
  /** Permissions, in an image. */
  mode?: number;
}

export interface NativeLimits {
  memoryLimit?: number;
  cpuTimeLimitMs?: number;
  wallTimeLimitMs?: number;
  jsonPayloadBytes?: number;
  base64TransferBytes?: number;
  maxOutputBytes?: number;
  maxTimers?: number;
  maxHandles?: number;
  maxChildProcesses?: number;
  maxOpenFds?: number;
  maxFilesystemBytes?: number;
  maxInodes?: number;
  maxDirectoryDepth?: number;
  maxParkedThreads?: number;
  maxSockets?: number;
  maxConnections?: number;
  maxBridgeCalls?: number;
}

export interface NativeVmOptions {
  name?: string;
  limits: NativeLimits;
  freeze: boolean;
  snapshot: Buffer[];
  codeCache: boolean;
  codeCacheBytes?: number;
  moduleRoots: string[];
  files: NativeFile[];
  env: NativePair[];
  cwd?: string;
  argv: string[];
  permissions: NativeScope[];
  dnsServers: string[];
  dnsOverrides: { name: string; addresses: string[] }[];
  loopbackExemptPorts: number[];
  /** Whether there is something that dials for guests at all. */
  hasWayOut: boolean;
  hasAdapter: boolean;
  permissionTimeoutMs?: number;
  hostFunctions: string[];
  hostCommands: boolean;
  warns: boolean;
  os: NativeOs;
  user: NativeUser;
}

export interface NativeRule {
  allow: boolean;
  operations?: string[];
  patterns?: string[];
  hosts?: string[];
  ports?: number[];
  methods?: string[];
  urlPattern?: string;
}

export interface NativeScope {
  scope: string;
  policy: "allow" | "deny" | "rules" | "ask";
  defaultAllow?: boolean;
  hidesDenied?: boolean;
  rules?: NativeRule[];
}

export interface NativeOs {
  kind?: string;
  release?: string;
  version?: string;
  machine?: string;
  hostname?: string;
  cpuModel?: string;
  cpuCount?: number;
  totalMemory?: number;
  freeMemory?: number;
}

export interface NativeUser {
  name?: string;
  uid?: number;
  gid?: number;
  home?: string;
  shell?: string;
}

export interface NativeHostError {
  name: string;
  message: string;
  code?: string;
}

/** Who is asked; the numbers are those of `src/host_calls.rs`. */
export const HostCallKind = { permission: 0, fileSystem: 1, function: 2, warning: 3, command: 4, watch: 5 } as const;

export type NativeHost = (id: number, kind: number, target: string, payload: Buffer) => void;

export interface NativeExecOptions {
  code: string;
  wantExports: boolean;
  filePath?: string;
  fromFile?: boolean;
  env: NativePair[];
  cwd?: string;
  argv?: string[];
  stdin?: Buffer;
  tty?: { columns: number; rows: number };
  cpuTimeLimitMs?: number;
  wallTimeLimitMs?: number;
  wallSparesListeners?: boolean;
  waitsForAwait?: boolean;
  freeze?: boolean;
  captureBytes: number;
  streamOutput: boolean;
  nodeOptions?: string;
  execArgv?: string[];
}

export type NativeReason = "exit" | "error" | "cpu" | "wall" | "memory" | "aborted" | "disposed" | "crash";

export interface NativeOutcome {
  reason: NativeReason;
  code: number;
  signal?: number;
  errorMessage?: string;
  error?: { name: string; message: string; stack: string; code?: string };
  stdout: string;
  stdoutDropped: number;
  stderr: string;
  stderrDropped: number;
  cpuMs: number;
  wallMs: number;
  peakHeapBytes: number;
  exports?: Buffer;
  exportsError?: { code: string; message: string };
}

/** What an event carries; the numbers are those of `src/events.rs`. */
export const EventKind = { stdout: 0, stderr: 1, outcome: 2, started: 3, stdin: 4 } as const;

export type NativeListener = (kind: number, payload: Buffer | NativeOutcome | null | undefined, pid: number) => void;

/** What reads and writes answer instead of waiting; that of `src/network.rs`. */
export const WAIT = -1;

export interface NativeProcess {
  abort(): void;
  kill(signal: number): void;
  holdOutput(held: boolean): void;
  writeStdin(buffer: Buffer, offset: number): number;
  endStdin(): void;
  resize(columns: number, rows: number): void;
}

export interface NativeListenerInfo {
  pid: number;
  port: number;
  host?: string | null;
  path?: string | null;
}

export interface NativeListenerQuery {
  port?: number;
  host?: string;
  path?: string;
}

/** What an event of the network carries; the numbers are those of `src/network.rs`. */
export const NetworkEventKind = { readable: 0, writable: 1, listener: 2, room: 3, hostPort: 4, guestConnection: 5, guestName: 6, guestGone: 7 } as const;

export type NativeNetworkListener = (id: number, kind: number, listener: NativeListenerInfo | null | undefined) => void;

export interface NativeConnection {
  read(buffer: Buffer, offset: number): number;
  write(buffer: Buffer, offset: number): number;
  shutdown(): void;
  fail(error: string): void;
  close(): void;
  readonly address: string;
  readonly name: string | null;
  readonly byAddress: boolean;
  readonly port: number;
  readonly plainTls: string | null;
}

export interface NativeNetwork {
  connect(id: number, port: number): NativeConnection | null;
  findListener(query: NativeListenerQuery): NativeListenerInfo | null;
  waitForListener(id: number, query: NativeListenerQuery): void;
  stopWaiting(id: number): void;
  openHostPorts(): void;
  hostPort(port: number): number;
  serveGuests(): void;
  nextGuestConnection(id: number): NativeConnection | null;
  guestName(id: number): string | null;
  answerGuestName(id: number, address: string | undefined, error: string | undefined): void;
  meantHost(address: string, byAddress: boolean, name: string | undefined, host: string): string | null;
  mayRequest(request: NativeNetworkRequest): Promise<void>;
  lookup(name: string): Promise<string[]>;
  dial(id: number, address: string, port: number): Promise<NativeConnection>;
}

export interface NativeNetworkRequest {
  op: "fetch" | "http" | "dns";
  hostname: string;
  port: number;
  url?: string;
  method?: string;
  isInternal: boolean;
}

export interface NativeContext {
  call(options: NativeExecOptions, listener: NativeListener): NativeProcess;
  readonly isGone: boolean;
  end(): void;
}

export interface NativeImage {
  readonly native: unique symbol;
}

export interface NativeStats {
  processes: number;
  filesystemBytes: number;
  inodes: number;
  heapBytes: number;
  externalBytes: number;
  sockets: number;
  connections: number;
  codeCache: { entries: number; bytes: number; hits: number; waiting: number };
}

export interface NativeVm {
  exec(options: NativeExecOptions, listener: NativeListener): NativeProcess;
  spawn(options: NativeExecOptions, listener: NativeListener): NativeProcess;
  network(listener: NativeNetworkListener): NativeNetwork;
  createContext(options: NativeExecOptions): NativeContext;
  answer(id: number, value: Buffer | undefined, error: NativeHostError | undefined): void;
  tellWatchers(number: number, isRename: boolean, name: string): void;
  addHostFunctions(names: string[]): void;
  fileSystem(request: Buffer): Promise<Buffer>;
  writeFile(path: string, data: Buffer): void;
  terminate(): void;
  dispose(): void;
  forgetFiles(): void;
  stats(): NativeStats;
}

export interface Native {
  NativeVm: new (
    options: string,
    snapshot: Buffer[],
    files: NativeFile[],
    image: NativeImage | undefined,
    host: NativeHost | undefined,
  ) => NativeVm;
  NativeImage: new (files: NativeFile[]) => NativeImage;
  /** Says that a VM is about to be made: what will run its first program wakes up meanwhile. */
  getReady(): void;
}

/** Names of the platform packages, by `process.platform` and `process.arch`. */
const PLATFORMS: Readonly<Record<string, string>> = {
  "linux x64": "linux-x64-gnu",
  "linux arm64": "linux-arm64-gnu",
  "darwin x64": "darwin-x64",
  "darwin arm64": "darwin-arm64",
  "win32 x64": "win32-x64-msvc",
};

let loaded: Native | undefined;

/** The addon, loaded at first use. */
export function native(): Native {
  loaded ??= load();
  return loaded;
}

/** Half of a surrogate pair, as `JSON.stringify` writes it; a backslash before it that is one of a pair stays. */
const LONE_SURROGATE = /(?<!\\)((?:\\\\)*)\\ud[89a-f][0-9a-f]{2}/g;

/** A VM's options as they cross: what is not bytes as one text. */
export interface VmRequest {
  text: string;
  snapshot: Buffer[];
  files: NativeFile[];
}

/** Writes a VM's options in that form. */
export function vmRequest({ snapshot, files, ...options }: NativeVmOptions): VmRequest {
  return { text: JSON.stringify(options).replace(LONE_SURROGATE, "$1\\ufffd"), snapshot, files };
}

/** Makes a VM. */
export function makeVm({ text, snapshot, files }: VmRequest, image?: NativeImage, host?: NativeHost): NativeVm {
  const { NativeVm } = native();
  return new NativeVm(text, snapshot, files, image, host);
}

function load(): Native {
  const here = `${process.platform} ${process.arch}`;
  const platform = PLATFORMS[here];
  if (platform === undefined) {
    const known = Object.keys(PLATFORMS).join(", ");
    throw new SecureExecError("ERR_UNSUPPORTED_PLATFORM", `there is no secure-exec for ${here}; there is for ${known}`);
  }
  // Made at run time, so that bundlers leave the addon alone.
  const require = createRequire(__filename);
  const file = `secure-exec.${platform}.node`;
  // In the repository the addon lies beside `dist`.
  const local = join(__dirname, "..", "..", file);
  const attempts = existsSync(local) ? [local] : [`@secure-exec/${platform}`];
  const given = process.env["SECURE_EXEC_NATIVE"];
  if (given !== undefined && given !== "") attempts.unshift(given);
  const errors: unknown[] = [];
  for (const attempt of attempts) {
    try {
      return require(attempt) as Native;
    } catch (error) {
      errors.push(error);
    }
  }
  throw new SecureExecError(
    "ERR_UNSUPPORTED_PLATFORM",
    `the native part of secure-exec for ${platform} cannot be loaded; is the optional dependency @secure-exec/${platform} ` +
      "installed? (glibc 2.35 or newer is needed on Linux)",
    { cause: errors.length === 1 ? errors[0] : new AggregateError(errors) },
  );
}
