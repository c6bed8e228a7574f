/** Types of the public API. */

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

export type StdioHook = (event: StdioEvent) => void;

/** What is kept of standard output and standard error for the result. */
export type Capture = false | { /** Bytes of each stream. */ maxBytes: number };

export type TimingMitigation = "freeze" | "off";

/** What may leave the sandbox as a value. */
export interface PayloadLimits {
  /** Bytes of binary data; 1 KiB to 64 MiB, 16 MiB by default. */
  base64TransferBytes?: number;
  /** Bytes of everything else; 1 KiB to 64 MiB, 4 MiB by default. */
  jsonPayloadBytes?: number;
}

/** What a VM and its processes may have of each thing. */
export interface Budgets {
  /** Bytes that a process may write to its standard streams; what is beyond is dropped and counted. */
  maxOutputBytes: number;
  /** Calls from the guest to functions of the host. */
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
  /** Open sockets of the VM; 4,096 by default. */
  maxSockets: number;
  /** Connections of the VM; 4,096 by default. */
  maxConnections: number;
  /** Bytes of a response that `fetch` keeps; 64 MiB by default. Streamed bodies have no limit. */
  maxHttpBodyBytes: number;
}

/** How a runtime is made. Options are copied: changing the object later changes nothing. */
export interface NodeRuntimeCreateOptions {
  /** MB of V8 heap, ArrayBuffers and what is held for the guest; 16 to 4096, 128 by default. */
  memoryLimit?: number;
  /** CPU time of a program; 30,000 by default. */
  cpuTimeLimitMs?: number;
  /** Wall time of a program; ten times the CPU limit by default. */
  wallTimeLimitMs?: number;
  /** `"freeze"`, the default: no clock of the guest moves while its code runs. */
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
  /** This version has no dependency overlay. */
  moduleAccess?: false;
}

/** How one program is run. */
export interface ExecOptions {
  /** The path it stands at in the guest; its extension tells the language. */
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
}

/** How one module is run. */
export type RunOptions = Omit<ExecOptions, "context">;

/** How a context is made. The time limits, hook and capture are those of its calls, unless a call says otherwise. */
export type ContextOptions = Omit<ExecOptions, "context" | "stdin" | "filePath" | "signal">;

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
  /** Bytes of output that results did not keep. */
  droppedOutputBytes: number;
}

export type OutputHook = (data: Uint8Array) => void;

/** How a program is spawned. There is no wall limit unless `wallTimeLimitMs` says so. */
export interface SpawnOptions extends Omit<ExecOptions, "context"> {
  /** Hear of output as it is written. An exception in them is ignored. */
  onStdout?: OutputHook;
  onStderr?: OutputHook;
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
