/** One standard output stream of a guest, for whoever iterates. */

import type { OutputHook } from "./types.js";

/** Bytes that wait for a reader. With a reader the guest waits for it; without one, what is beyond is left out. */
const MAX_WAITING_BYTES = 1024 * 1024;

type Hold = (output: GuestOutput, holds: boolean) => void;

/** See the module's text. One reader. */
export class GuestOutput implements AsyncIterable<Uint8Array> {
  readonly #hold: Hold;
  readonly #hook: OutputHook | undefined;
  readonly #chunks: Uint8Array[] = [];
  #bytes = 0;
  #holds = false;
  #ended = false;
  /** Nobody has asked yet, somebody reads, or somebody has read enough. */
  #reader: "none" | "reads" | "left" = "none";
  #wake: (() => void) | undefined;

  constructor(hold: Hold, hook: OutputHook | undefined) {
    this.#hold = hold;
    this.#hook = hook;
  }

  /** The guest wrote something. */
  add(chunk: Uint8Array): void {
    try {
      const answer: unknown = this.#hook?.(chunk);
      // An async hook that rejects must not become an unhandled rejection.
      if (answer instanceof Promise) answer.catch(() => {});
    } catch {
      // The hook is the host's own affair: the program does not depend on it.
    }
    if (this.#reader === "left") return;
    if (this.#reader === "none" && this.#bytes + chunk.length > MAX_WAITING_BYTES) return;
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    this.#update();
    this.#wakeReader();
  }

  /** The guest has ended. */
  end(): void {
    this.#ended = true;
    this.#wakeReader();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    if (this.#reader !== "none") return;
    this.#reader = "reads";
    this.#update();
    try {
      for (;;) {
        const chunk = this.#chunks.shift();
        if (chunk !== undefined) {
          this.#bytes -= chunk.length;
          this.#update();
          yield chunk;
        } else if (this.#ended) {
          return;
        } else {
          await new Promise<void>((resolve) => (this.#wake = resolve));
        }
      }
    } finally {
      this.#reader = "left";
      this.#chunks.length = 0;
      this.#bytes = 0;
      this.#update();
    }
  }

  #update(): void {
    const holds = this.#reader === "reads" && !this.#ended && this.#bytes >= MAX_WAITING_BYTES;
    if (holds === this.#holds) return;
    this.#holds = holds;
    this.#hold(this, holds);
  }

  #wakeReader(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}
