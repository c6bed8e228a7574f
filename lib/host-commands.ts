/** Commands that guests start and the embedder's executor runs. One VM's. */

import { SecureExecError, typeError } from "./errors.js";
import type { CommandExecutor, CommandProcess } from "./types.js";

/** Output that waits for the guest. An executor that does not wait for `onStdout` fails beyond it. */
const MAX_WAITING_BYTES = 16 * 1024 * 1024;
/** Output that goes over at once. */
const ANSWER_BYTES = 1024 * 1024;
/** How long a command that was told to end may take before it is killed. */
const GRACE_MS = 5_000;
const SIGKILL = 9;

/** What the VM asks; `id` names a command. */
export type CommandQuestion =
  | { op: "spawn"; id: number; command: string; args: string[]; cwd: string; env: Record<string, string> }
  | { op: "read" | "end"; id: number }
  | { op: "write"; id: number; data: Uint8Array }
  | { op: "kill"; id: number; signal: number };

type Channel = "stdout" | "stderr";

interface Piece {
  channel: Channel;
  data: Uint8Array;
}

/** What a `read` answers: output, or the end once there is no more. */
interface Output {
  output: Piece[];
  code?: number;
}

/** One command. */
class Running {
  process: CommandProcess | undefined;
  readonly #waiting: { piece: Piece; taken: () => void }[] = [];
  #bytes = 0;
  #end: { code: number } | { error: unknown } | undefined;
  #reader: (() => void) | undefined;

  get hasEnded(): boolean {
    return this.#end !== undefined;
  }

  get hasFailed(): boolean {
    return this.#end !== undefined && "error" in this.#end;
  }

  /** Output of the command; resolves when the guest has taken it. */
  push(channel: Channel, data: unknown): Promise<void> {
    if (this.#end !== undefined) return Promise.resolve();
    const hook = channel === "stdout" ? "onStdout" : "onStderr";
    if (!(data instanceof Uint8Array)) return this.#fail(typeError(`${hook} data`, "a Uint8Array", data));
    if (this.#bytes + data.length > MAX_WAITING_BYTES) {
      const text = `more than ${MAX_WAITING_BYTES} bytes of output wait for the guest; the executor does not wait for ${hook}`;
      return this.#fail(new SecureExecError("ERR_RESOURCE_BUDGET_EXCEEDED", text));
    }
    this.#bytes += data.length;
    return new Promise((taken) => {
      for (let at = 0; at < data.length; at += ANSWER_BYTES) {
        const isLast = at + ANSWER_BYTES >= data.length;
        this.#waiting.push({ piece: { channel, data: data.slice(at, at + ANSWER_BYTES) }, taken: isLast ? taken : () => {} });
      }
      if (data.length === 0) taken();
      this.#wake();
    });
  }

  /** Ends it for the executor's mistake. An exception in a callback of the executor's would be nobody's to catch. */
  #fail(error: Error): Promise<void> {
    this.end({ error });
    this.kill(SIGKILL);
    return Promise.resolve();
  }

  end(end: { code: number } | { error: unknown }): void {
    this.#end ??= end;
    this.#wake();
  }

  /** The next output. Who waits for the guest to take it goes on. */
  async read(): Promise<Output> {
    while (this.#waiting.length === 0 && this.#end === undefined) {
      await new Promise<void>((wake) => (this.#reader = wake));
    }
    const output: Piece[] = [];
    let bytes = 0;
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      if (output.length > 0 && bytes + next.piece.data.length > ANSWER_BYTES) break;
      bytes += next.piece.data.length;
      output.push(next.piece);
      this.#waiting.shift();
      this.#bytes -= next.piece.data.length;
      next.taken();
    }
    if (this.#waiting.length > 0 || this.#end === undefined) return { output };
    if ("error" in this.#end) {
      if (output.length > 0) return { output };
      throw this.#end.error;
    }
    return { output, code: this.#end.code };
  }

  /** Lets go of whoever waits for the guest: it is not there any more. */
  drop(): void {
    for (const { taken } of this.#waiting.splice(0)) taken();
    this.#bytes = 0;
  }

  kill(signal: number): void {
    if (this.process !== undefined) quietly(() => this.process?.kill(signal));
  }

  #wake(): void {
    const reader = this.#reader;
    this.#reader = undefined;
    reader?.();
  }
}

/** See the module's text. */
export class HostCommands {
  readonly #executor: CommandExecutor;
  readonly #running = new Map<number, Running>();
  #disposed = false;

  constructor(executor: unknown, option: string) {
    const { spawn } = (executor ?? {}) as { spawn?: unknown };
    if (typeof spawn !== "function") throw typeError(option, "an object with a function spawn", executor);
    this.#executor = executor as CommandExecutor;
  }

  async answer(question: CommandQuestion): Promise<unknown> {
    if (question.op === "spawn") return this.#spawn(question);
    const running = this.#running.get(question.id);
    if (running === undefined) throw new SecureExecError("ESRCH", "the command has ended");
    switch (question.op) {
      case "read": {
        try {
          const answer = await running.read();
          if (answer.code !== undefined) this.#running.delete(question.id);
          return answer;
        } catch (error) {
          this.#running.delete(question.id);
          throw error;
        }
      }
      case "write":
        await running.process?.writeStdin(question.data);
        return undefined;
      case "end":
        await running.process?.closeStdin();
        return undefined;
      case "kill":
        this.#running.delete(question.id);
        stop(running, question.signal);
        return undefined;
    }
  }

  async #spawn({ id, command, args, cwd, env }: CommandQuestion & { op: "spawn" }): Promise<void> {
    const running = new Running();
    this.#running.set(id, running);
    let failure: { error: unknown } | undefined;
    try {
      const process = await this.#executor.spawn(command, [...args], {
        cwd,
        env: { ...env },
        onStdout: (data) => running.push("stdout", data),
        onStderr: (data) => running.push("stderr", data),
      });
      running.process = process;
      Promise.resolve(process.wait()).then(
        (code: unknown) => running.end({ code: typeof code === "number" && Number.isFinite(code) ? code : 1 }),
        (error: unknown) => {
          failure = { error };
          running.end(failure);
        },
      );
      // One that fails at once was never started, which is how the guest hears of it.
      await new Promise((resolve) => setImmediate(resolve));
      if (failure !== undefined) throw failure.error;
    } catch (error) {
      this.#running.delete(id);
      throw error;
    }
    // It was to end while it was being started.
    if (this.#disposed || running.hasFailed || !this.#running.has(id)) running.kill(SIGKILL);
  }

  /** Ends all commands. */
  dispose(): void {
    this.#disposed = true;
    for (const running of this.#running.values()) stop(running, SIGKILL);
    this.#running.clear();
  }
}

/** Ends a command of which the guest hears no more. */
function stop(running: Running, signal: number): void {
  running.kill(signal);
  running.drop();
  if (signal === SIGKILL) return;
  const timer = setTimeout(() => {
    if (!running.hasEnded) running.kill(SIGKILL);
  }, GRACE_MS);
  timer.unref();
}

/** What fails in the embedder's own code here has nobody to be told. */
function quietly(action: () => unknown): void {
  try {
    const result = action();
    if (result instanceof Promise) result.catch(() => {});
  } catch {
    // See above.
  }
}
