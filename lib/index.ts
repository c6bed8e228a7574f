/** Untrusted JavaScript and TypeScript as if in Node 22, inside V8 isolates over a virtual kernel. */

export { SecureExecError } from "./errors.js";
export type { LimitDetails } from "./errors.js";
export { Context } from "./context.js";
export { NodeRuntime } from "./runtime.js";
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
  GuestErrorInfo,
  NodeRuntimeCreateOptions,
  PayloadLimits,
  RunOptions,
  RunResult,
  RuntimeStats,
  StdioEvent,
  StdioHook,
  TimingMitigation,
} from "./types.js";
