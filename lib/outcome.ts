/** Outcomes of programs as the results of the public API. */

import { constants } from "node:os";
import { SecureExecError } from "./errors.js";
import type { NativeOutcome } from "./native.js";
import type { EvaluateResult, ExecResult, RunResult } from "./types.js";
import { decodeInTurns } from "./values.js";

// Of two names for one number the first counts, as in Node.
const SIGNALS = new Map(Object.entries(constants.signals).reverse().map(([name, number]) => [number, name as NodeJS.Signals]));

/** The outcome of a program that was aborted before it started. */
export function abortedOutcome(): NativeOutcome {
  return notStarted("aborted", "The operation was aborted");
}

/** The outcome of a program that never started. */
export function notStarted(reason: NativeOutcome["reason"], errorMessage: string): NativeOutcome {
  return {
    reason,
    code: 1,
    errorMessage,
    stdout: "",
    stdoutDropped: 0,
    stderr: "",
    stderrDropped: 0,
    cpuMs: 0,
    wallMs: 0,
    peakHeapBytes: 0,
  };
}

/** How a program ended, in a few words. */
export function describeEnd({ reason, code, errorMessage }: NativeOutcome): string {
  return errorMessage ?? `${reason}, code ${code}`;
}

/** A guest's error as an error of the host's. */
export function guestError({ name, message, stack, code }: NonNullable<NativeOutcome["error"]>): Error {
  const error = Object.assign(new Error(message), { name, stack });
  return code === undefined ? error : Object.assign(error, { code });
}

/** The public result of an outcome. */
export function execResult(outcome: NativeOutcome, captures: boolean): ExecResult {
  const { code, reason, cpuMs, wallMs, peakHeapBytes } = outcome;
  const result: ExecResult = { code, exitCode: code, reason, usage: { cpuMs, wallMs, peakHeapBytes } };
  const signal = outcome.signal === undefined ? undefined : SIGNALS.get(outcome.signal);
  if (signal !== undefined) result.signal = signal;
  if (outcome.errorMessage !== undefined) result.errorMessage = outcome.errorMessage;
  if (outcome.error !== undefined) result.error = { ...outcome.error };
  if (captures) {
    result.stdout = outcome.stdout;
    result.stderr = outcome.stderr;
    result.stdoutTruncated = outcome.stdoutDropped > 0;
    result.stderrTruncated = outcome.stderrDropped > 0;
  }
  return result;
}

/** The same with exports. A value that may not cross makes the run a failure. */
export async function runResult<T>(outcome: NativeOutcome, captures: boolean): Promise<RunResult<T>> {
  const result: RunResult<T> = execResult(outcome, captures);
  return withValue(result, outcome, (exports) => (result.exports = exports as T));
}

/** The same with the value of a piece of code. */
export async function evaluateResult<T>(outcome: NativeOutcome, captures: boolean): Promise<EvaluateResult<T>> {
  const result: EvaluateResult<T> = execResult(outcome, captures);
  return withValue(result, outcome, (value) => (result.value = value as T));
}

async function withValue<R extends ExecResult>(result: R, outcome: NativeOutcome, take: (value: unknown) => void): Promise<R> {
  let refused = outcome.exportsError;
  try {
    if (outcome.exports !== undefined) take(await decodeInTurns(outcome.exports));
  } catch (error) {
    if (!(error instanceof SecureExecError)) throw error;
    refused ??= error;
  }
  if (refused === undefined) return result;
  const { code, message } = refused;
  const { name } = new SecureExecError(code, message);
  const error = { name, message, stack: `${name} [${code}]: ${message}`, code };
  return Object.assign(result, { code: 1, exitCode: 1, reason: "error", errorMessage: `${code}: ${message}`, error });
}
