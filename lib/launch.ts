/** Starts programs and waits for their outcomes. */

import { fromNative } from "./errors.js";
import { EventKind } from "./native.js";
import type { NativeExecOptions, NativeListener, NativeOutcome, NativeProcess } from "./native.js";
import type { ExecSettings } from "./options.js";
import { abortedOutcome } from "./outcome.js";
import { StdioEvents } from "./stdio.js";

/**
 * Starts a program by `begin` and resolves with its outcome. Its signal is heard before and during, never after.
 */
export function launch(
  settings: ExecSettings,
  begin: (options: NativeExecOptions, listener: NativeListener) => NativeProcess,
): Promise<NativeOutcome> {
  const { native, signal, onStdio } = settings;
  if (signal?.aborted === true) return Promise.resolve(abortedOutcome());
  const events = onStdio === undefined ? undefined : new StdioEvents(onStdio);
  return new Promise((resolve, reject) => {
    let process: NativeProcess | undefined;
    const abort = (): void => process?.abort();
    try {
      process = begin(native, (kind, payload, pid) => {
        if (kind === EventKind.outcome) {
          signal?.removeEventListener("abort", abort);
          resolve(payload as NativeOutcome);
        } else {
          events?.emit(kind === EventKind.stdout ? "stdout" : "stderr", payload as Buffer, pid);
        }
      });
    } catch (error) {
      reject(fromNative(error));
      return;
    }
    signal?.addEventListener("abort", abort, { once: true });
  });
}
