/** A program that is used while it runs. */

import { constants } from "node:os";
import { Writable } from "node:stream";
import { fromNative, typeError, valueError } from "./errors.js";
import { GuestOutput } from "./guest-output.js";
import { EventKind, WAIT } from "./native.js";
import type { NativeExecOptions, NativeListener, NativeOutcome, NativeProcess } from "./native.js";
import { terminalSize } from "./options.js";
import type { SpawnSettings } from "./options.js";
import { execResult } from "./outcome.js";
import { StdioEvents } from "./stdio.js";
import type { ExecResult, TerminalSize } from "./types.js";

const SIGNALS = constants.signals as Readonly<Record<string, number>>;
/** The highest signal of Linux. */
const MAX_SIGNAL = 64;

type Begin = (options: NativeExecOptions, listener: NativeListener) => NativeProcess;
type Done = (error?: Error | null) => void;

/** The standard input of a guest: a pipe of its kernel. */
class GuestStdin extends Writable {
  readonly #process: () => NativeProcess;
  #resume: (() => void) | undefined;

  constructor(process: () => NativeProcess) {
    super();
    this.#process = process;
    // A guest may end without reading; that is told by its outcome.
    this.on("error", () => {});
  }

  becameWritable(): void {
    const resume = this.#resume;
    this.#resume = undefined;
    resume?.();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: Done): void {
    this.#push(chunk, 0, done);
  }

  override _final(done: Done): void {
    this.#process().endStdin();
    done();
  }

  override _destroy(error: Error | null, done: Done): void {
    this.#resume = undefined;
    this.#process().endStdin();
    done(error);
  }

  #push(chunk: Buffer, from: number, done: Done): void {
    let offset = from;
    try {
      while (offset < chunk.length) {
        const written = this.#process().writeStdin(chunk, offset);
        if (written === WAIT) {
          this.#resume = () => this.#push(chunk, offset, done);
          return;
        }
        offset += written;
      }
    } catch (error) {
      done(fromNative(error));
      return;
    }
    done();
  }
}

/** A running program. It ends with its runtime. */
export class GuestProcess {
  /** Its standard input. It ends with the process; writing to it after that fails without an `error` event's harm. */
  readonly stdin: Writable;
  /** What it writes, from the start; chunks wait for whoever iterates, up to 1 MiB. */
  readonly stdout: AsyncIterable<Uint8Array>;
  readonly stderr: AsyncIterable<Uint8Array>;
  readonly #native: NativeProcess;
  readonly #result: Promise<ExecResult>;
  #pid = 0;
  #exitCode: number | null = null;

  /** Starts a program by `begin`. @internal */
  static start(settings: SpawnSettings, begin: Begin): { process: GuestProcess; started: Promise<void>; outcome: Promise<NativeOutcome> } {
    let start!: () => void;
    let finish!: (outcome: NativeOutcome) => void;
    const started = new Promise<void>((resolve) => (start = resolve));
    const outcome = new Promise<NativeOutcome>((resolve) => (finish = resolve));
    const process = new GuestProcess(settings, begin, outcome, start, finish);
    return { process, started, outcome };
  }

  private constructor(
    settings: SpawnSettings,
    begin: Begin,
    outcome: Promise<NativeOutcome>,
    start: () => void,
    finish: (outcome: NativeOutcome) => void,
  ) {
    const { native, signal, onStdio, onStdout, onStderr } = settings;
    const events = onStdio === undefined ? undefined : new StdioEvents(onStdio);
    const held = new Set<GuestOutput>();
    const hold = (output: GuestOutput, holds: boolean): void => {
      if (holds) held.add(output);
      else held.delete(output);
      this.#native.holdOutput(held.size > 0);
    };
    const stdout = (this.stdout = new GuestOutput(hold, onStdout));
    const stderr = (this.stderr = new GuestOutput(hold, onStderr));
    const stdin = (this.stdin = new GuestStdin(() => this.#native));
    const abort = (): void => this.#native.abort();
    this.#result = outcome.then((ended) => execResult(ended, native.captureBytes > 0));
    try {
      this.#native = begin(native, (kind, payload, pid) => {
        switch (kind) {
          case EventKind.started:
            this.#pid = pid;
            start();
            break;
          case EventKind.stdin:
            stdin.becameWritable();
            break;
          case EventKind.outcome: {
            const ended = payload as NativeOutcome;
            signal?.removeEventListener("abort", abort);
            this.#exitCode = ended.code;
            stdout.end();
            stderr.end();
            stdin.destroy();
            finish(ended);
            start();
            break;
          }
          default: {
            const bytes = payload as Buffer;
            const isError = kind === EventKind.stderr;
            events?.emit(isError ? "stderr" : "stdout", bytes, pid);
            (isError ? stderr : stdout).add(bytes);
          }
        }
      });
    } catch (error) {
      throw fromNative(error);
    }
    if (native.stdin !== undefined) stdin.end();
    signal?.addEventListener("abort", abort, { once: true });
  }

  /** Its process id in the guest; 0 for a program that ended before it had one, such as one with a syntax error. */
  get pid(): number {
    return this.#pid;
  }

  /** Its exit code; `null` while it runs. */
  get exitCode(): number | null {
    return this.#exitCode;
  }

  /** Writes to its standard input. Resolves when the guest has room for it. */
  writeStdin(data: string | Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => this.stdin.write(data, (error) => (error ? reject(error) : resolve())));
  }

  /** Ends its standard input. */
  async closeStdin(): Promise<void> {
    this.stdin.end();
  }

  /** Sends it a signal. Answers whether it still ran. */
  kill(signal: NodeJS.Signals | number = "SIGTERM"): boolean {
    const number = signalNumber(signal);
    if (this.#exitCode !== null) return false;
    try {
      this.#native.kill(number);
    } catch (error) {
      throw fromNative(error);
    }
    return true;
  }

  /** Changes the size of its terminal; without one nothing happens. */
  resize(size: TerminalSize): void {
    const { columns, rows } = terminalSize(size, "size");
    this.#native.resize(columns, rows);
  }

  /** Resolves with its result once it has ended. Never rejects. */
  wait(): Promise<ExecResult> {
    return this.#result;
  }
}

function signalNumber(signal: unknown): number {
  if (typeof signal === "number" && Number.isInteger(signal) && signal >= 0 && signal <= MAX_SIGNAL) return signal;
  const number = typeof signal === "string" ? SIGNALS[signal] : undefined;
  if (number !== undefined) return number;
  if (typeof signal !== "string" && typeof signal !== "number") {
    throw typeError("signal", "a signal's name or number", signal);
  }
  throw Object.assign(valueError("signal", "must be a signal's name or number", signal), { code: "ERR_UNKNOWN_SIGNAL" });
}
