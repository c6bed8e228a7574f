/** Output of guests as events for the host's hook. */

import type { StdioEvent, StdioHook } from "./types.js";

type Channel = StdioEvent["channel"];

/** Turns the bytes of one process into events. */
export class StdioEvents {
  readonly #hook: StdioHook;
  readonly #decoders = {
    stdout: new TextDecoder("utf-8", { ignoreBOM: true }),
    stderr: new TextDecoder("utf-8", { ignoreBOM: true }),
  };

  constructor(hook: StdioHook) {
    this.#hook = hook;
  }

  /** Tells the hook of one write. */
  emit(channel: Channel, data: Uint8Array, pid: number): void {
    const text = this.#decoders[channel].decode(data, { stream: true });
    const message = text.endsWith("\n") ? text.slice(0, -1) : text;
    try {
      const answer: unknown = this.#hook({ channel, message, data, pid });
      // An async hook that rejects must not become an unhandled rejection.
      if (answer instanceof Promise) answer.catch(() => {});
    } catch {
      // The hook is the host's own affair: the program and its result do not depend on it.
    }
  }
}
