/** `NodeRuntime`: one virtual machine. */

import { disposedError, fromNative, unavailable } from "./errors.js";
import { EventKind, native } from "./native.js";
import type { NativeOutcome, NativeProcess, NativeVm } from "./native.js";
import { readCreateOptions, readExecOptions } from "./options.js";
import type { ExecSettings, RuntimeSettings } from "./options.js";
import { abortedOutcome, execResult, runResult } from "./outcome.js";
import { StdioEvents } from "./stdio.js";
import type { ExecOptions, ExecResult, NodeRuntimeCreateOptions, RunOptions, RunResult, RuntimeStats } from "./types.js";

/** Shows the constructor that `create` calls it. */
const CREATE = Symbol("create");

// Node 18.18 and 20.4 brought the symbol; older type targets look it up by this name.
(Symbol as { asyncDispose?: symbol }).asyncDispose ??= Symbol.for("Symbol.asyncDispose");

/**
 * A virtual machine that runs untrusted programs as Node 22 would.
 *
 * Each program gets a fresh isolate: its globals and modules are its own. Files are the VM's and stay.
 */
export class NodeRuntime {
  readonly #settings: RuntimeSettings;
  readonly #vm: NativeVm;
  readonly #pending = new Set<Promise<NativeOutcome>>();
  readonly #totals = { completed: 0, cpuMs: 0, wallMs: 0, peakHeapBytes: 0, droppedOutputBytes: 0 };
  #disposed = false;
  readonly #onSignal = (): void => {
    this.#vm.terminate();
    void this.dispose();
  };

  /** Makes a runtime. Options that cannot be meant are a `TypeError` or a `RangeError` at once. */
  static async create(options?: NodeRuntimeCreateOptions): Promise<NodeRuntime> {
    const settings = readCreateOptions(options);
    settings.signal?.throwIfAborted();
    return new NodeRuntime(CREATE, settings);
  }

  /** The first generation's constructor is not part of this version. Use {@link NodeRuntime.create}. */
  constructor(options: object);
  /** @internal */
  constructor(token: symbol, settings: RuntimeSettings);
  constructor(token: unknown, settings?: RuntimeSettings) {
    if (token !== CREATE || settings === undefined) {
      throw unavailable("new NodeRuntime()", "use await NodeRuntime.create()");
    }
    this.#settings = settings;
    const { NativeVm } = native();
    try {
      this.#vm = new NativeVm(settings.vm);
    } catch (error) {
      throw fromNative(error);
    }
    settings.signal?.addEventListener("abort", this.#onSignal, { once: true });
  }

  /** Runs a program to its end. Never rejects for what the guest did. */
  async exec(code: string, options?: ExecOptions): Promise<ExecResult> {
    const settings = readExecOptions(code, options, this.#settings, "exit");
    if (settings.context) throw unavailable("the option context");
    return execResult(await this.#start(settings), settings.native.captureBytes > 0);
  }

  /** Runs a module and brings its exports back. A string as second argument is its path. */
  async run<T = unknown>(code: string, options?: string | RunOptions): Promise<RunResult<T>> {
    const given = typeof options === "string" ? { filePath: options } : options;
    const settings = readExecOptions(code, given, this.#settings, "exports");
    return runResult<T>(await this.#start(settings), settings.native.captureBytes > 0);
  }

  /** Counters. They can be read after `dispose` too. */
  async stats(): Promise<RuntimeStats> {
    const { processes, filesystemBytes, inodes } = this.#vm.stats();
    return { processes, ...this.#totals, files: { bytes: filesystemBytes, inodes } };
  }

  /** Ends what runs, with reason `"aborted"`; the runtime stays usable. Resolves when everything has ended. */
  async terminate(): Promise<void> {
    this.#vm.terminate();
    await Promise.allSettled(this.#pending);
  }

  /** Ends what runs, with reason `"disposed"`, and refuses more. Resolves when everything has ended. Idempotent. */
  async dispose(): Promise<void> {
    this.#disposed = true;
    this.#settings.signal?.removeEventListener("abort", this.#onSignal);
    this.#vm.dispose();
    await Promise.allSettled(this.#pending);
  }

  /** The same as {@link NodeRuntime.dispose}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }

  #start(settings: ExecSettings): Promise<NativeOutcome> {
    if (this.#disposed) return Promise.reject(disposedError("the runtime"));
    const { signal, onStdio } = settings;
    if (signal?.aborted === true) return Promise.resolve(abortedOutcome());
    const events = onStdio === undefined ? undefined : new StdioEvents(onStdio);
    const outcome = new Promise<NativeOutcome>((resolve, reject) => {
      let process: NativeProcess | undefined;
      const abort = (): void => process?.abort();
      try {
        process = this.#vm.exec(settings.native, (kind, payload, pid) => {
          if (kind === EventKind.outcome) {
            signal?.removeEventListener("abort", abort);
            resolve(payload as NativeOutcome);
          } else {
            events?.emit(kind === EventKind.stdout ? "stdout" : "stderr", payload as Buffer, pid);
          }
        });
        signal?.addEventListener("abort", abort, { once: true });
      } catch (error) {
        reject(fromNative(error));
      }
    });
    this.#pending.add(outcome);
    return outcome.then(
      (ended) => {
        this.#pending.delete(outcome);
        this.#count(ended);
        return ended;
      },
      (error: unknown) => {
        this.#pending.delete(outcome);
        throw error;
      },
    );
  }

  #count(ended: NativeOutcome): void {
    const totals = this.#totals;
    totals.completed += 1;
    totals.cpuMs += ended.cpuMs;
    totals.wallMs += ended.wallMs;
    totals.peakHeapBytes = Math.max(totals.peakHeapBytes, ended.peakHeapBytes);
    totals.droppedOutputBytes += ended.stdoutDropped + ended.stderrDropped;
  }
}
