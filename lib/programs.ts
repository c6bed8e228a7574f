/** The programs of one runtime: how many run, and how the last one ended. */

import type { NativeOutcome } from "./native.js";

/** How long a program is meant to run. */
export type Kind = "task" | "server";

/** See the module's text. */
export class Programs {
  readonly #watchers = new Set<(ended: NativeOutcome) => void>();
  #running = 0;
  #lastEnd: NativeOutcome | undefined;
  #lastServer: NativeOutcome | undefined;

  /** How the program that ended last did. */
  get lastEnd(): NativeOutcome | undefined {
    return this.#lastEnd;
  }

  /** A program starts. */
  begin(): void {
    this.#running += 1;
  }

  /** A program has ended; without an outcome, it never began. */
  end(kind: Kind, ended?: NativeOutcome): void {
    this.#running -= 1;
    if (ended === undefined) return;
    this.#lastEnd = ended;
    if (kind === "server") this.#lastServer = ended;
    // A task that did its work may make place for a server that is yet to come.
    if (this.#running > 0 || (kind === "task" && ended.reason === "exit" && ended.code === 0)) return;
    for (const tell of [...this.#watchers]) tell(ended);
  }

  /**
   * Tells once nobody runs any more who could listen; at once when the last server has ended already. The answer ends
   * the watching.
   */
  onNobodyLeft(tell: (ended: NativeOutcome) => void): () => void {
    if (this.#running === 0 && this.#lastServer !== undefined) {
      tell(this.#lastServer);
      return () => {};
    }
    this.#watchers.add(tell);
    return () => this.#watchers.delete(tell);
  }
}
