/** `Context`: JavaScript state that lives from call to call. */

import { disposedError, unavailable } from "./errors.js";
import { launch } from "./launch.js";
import type { NativeContext, NativeOutcome } from "./native.js";
import { readExecOptions } from "./options.js";
import type { Defaults, ExecSettings } from "./options.js";
import { abortedOutcome, evaluateResult, execResult } from "./outcome.js";
import type { CallOptions, EvaluateResult, ExecResult } from "./types.js";

/** What a context is made of; `NodeRuntime` makes it. */
export interface ContextParts {
  /** Makes the native state; called again when it has ended. */
  make: () => NativeContext;
  defaults: Defaults;
  /** Told of each call, so that the runtime can wait for it. */
  track: (outcome: Promise<NativeOutcome>) => Promise<NativeOutcome>;
  /** Told when the context is disposed of. */
  forget: (context: Context) => void;
}

/**
 * A global object that code runs in, one piece after the other, as in Node's REPL: variables, functions and modules
 * stay. A call ends when nothing is left to do; between calls nothing runs.
 *
 * An exception that code throws leaves the state as it is. A limit, an abort, `process.exit` and an uncaught error in a
 * callback end the state: the next call begins with a fresh one.
 */
export class Context {
  readonly #parts: ContextParts;
  /** Settles when all calls so far have ended. */
  #last: Promise<unknown> = Promise.resolve();
  #native: NativeContext | undefined;
  #disposed = false;

  /** @internal */
  constructor(parts: ContextParts) {
    // A caller without `createContext` has nothing to make it of.
    if (typeof parts !== "object" || parts === null || !("make" in parts)) {
      throw unavailable("new Context()", "use await runtime.createContext()");
    }
    this.#parts = parts;
  }

  /** Runs code. Calls are queued in order. Never rejects for what the guest did. */
  async execute(code: string, options?: CallOptions): Promise<ExecResult> {
    const settings = readExecOptions(code, options, this.#parts.defaults, "execute");
    return this.executeWith(settings);
  }

  /** Runs code and brings its value back: that of its last expression, awaited. */
  async evaluate<T = unknown>(code: string, options?: CallOptions): Promise<EvaluateResult<T>> {
    const settings = readExecOptions(code, options, this.#parts.defaults, "evaluate");
    return evaluateResult<T>(await this.#enqueue(settings), settings.native.captureBytes > 0);
  }

  /** Forgets the state, after the calls that were made before. */
  async reset(): Promise<void> {
    if (this.#disposed) throw disposedError("the context");
    const done = this.#last.then(() => this.#end());
    this.#last = done;
    await done;
  }

  /** Ends what runs, with reason `"disposed"`, and refuses more. Idempotent. */
  async dispose(): Promise<void> {
    this.#disposed = true;
    this.#end();
    this.#parts.forget(this);
    await this.#last;
  }

  /** The same as {@link Context.dispose}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }

  /** @internal */
  async executeWith(settings: ExecSettings): Promise<ExecResult> {
    return execResult(await this.#enqueue(settings), settings.native.captureBytes > 0);
  }

  #enqueue(settings: ExecSettings): Promise<NativeOutcome> {
    if (this.#disposed) return Promise.reject(disposedError("the context"));
    const turn = this.#last.then(() => this.#call(settings));
    this.#last = turn.catch(() => {});
    return this.#parts.track(turn);
  }

  #call(settings: ExecSettings): Promise<NativeOutcome> {
    // Disposed of while it waited for its turn.
    if (this.#disposed) {
      return Promise.resolve({ ...abortedOutcome(), reason: "disposed", errorMessage: "the context was disposed of" });
    }
    return launch(settings, (options, listener) => {
      if (this.#native?.isGone === true) this.#native = undefined;
      this.#native ??= this.#parts.make();
      return this.#native.call(options, listener);
    });
  }

  #end(): void {
    this.#native?.end();
    this.#native = undefined;
  }
}
