/** Untrusted JavaScript and TypeScript as if in Node 22, inside V8 isolates over a virtual kernel. */

export { SecureExecError } from "./errors.js";
export type { LimitDetails } from "./errors.js";
export { Context } from "./context.js";
export { NodeRuntime } from "./runtime.js";
export type { GuestProcess } from "./guest-process.js";
export type { GuestResponse } from "./guest-response.js";
export type {
  Budgets,
  CallOptions,
  Capture,
  ContextOptions,
  EndReason,
  EvaluateResult,
  ExecOptions,
  ExecResult,
  ExecUsage,
  ExposeOptions,
  Exposed,
  GuestBody,
  GuestErrorInfo,
  GuestRequest,
  Listener,
  ListenerQuery,
  NodeRuntimeCreateOptions,
  OutputHook,
  PayloadLimits,
  RunOptions,
  RunResult,
  RuntimeStats,
  SpawnOptions,
  StdioEvent,
  StdioHook,
  TimingMitigation,
  WaitOptions,
} from "./types.js";
