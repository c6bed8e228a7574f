/** Untrusted JavaScript and TypeScript as if in Node 22, inside V8 isolates over a virtual kernel. */

export { SecureExecError } from "./errors.js";
export type { LimitDetails } from "./errors.js";
export { NodeRuntime } from "./runtime.js";
export type {
  Budgets,
  Capture,
  EndReason,
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
