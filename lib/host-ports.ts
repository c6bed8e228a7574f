/** The ports that guests listen on as ports of the host's 127.0.0.1, as the first generation has them. */

import { Forwarder } from "./expose.js";
import type { GuestNetwork } from "./guest-network.js";
import type { NativeNetwork } from "./native.js";

/** What `NativeNetwork.hostPort` answers when a port is to be closed; others below 0 mean that there is nothing to do. */
const CLOSE = -2;

/** See the module's text. A guest's `listen` has bound each port already; this accepts on them. */
export class HostPorts {
  readonly #native: NativeNetwork;
  readonly #network: GuestNetwork;
  readonly #open = new Map<number, Forwarder>();
  #closed = false;

  constructor(network: GuestNetwork, native: NativeNetwork) {
    this.#network = network;
    this.#native = native;
  }

  /** Does what there is to do about a port. */
  update(port: number): void {
    const next = this.#native.hostPort(port);
    if (next >= 0) {
      const forwarder = new Forwarder(this.#network, port);
      // Accepting may fail for want of descriptors; the port stays.
      forwarder.server.on("error", () => {});
      forwarder.server.listen({ fd: next });
      // The socket came after the end: taken over only to be closed.
      if (this.#closed) void forwarder.close();
      else this.#open.set(port, forwarder);
    } else if (next === CLOSE) {
      void this.#open.get(port)?.close();
      this.#open.delete(port);
    }
  }

  /** Closes the ports on which nobody listens any more. */
  refresh(): void {
    for (const port of [...this.#open.keys()]) this.update(port);
  }

  /** Closes all. */
  async close(): Promise<void> {
    this.#closed = true;
    const open = [...this.#open.values()];
    this.#open.clear();
    await Promise.all(open.map((forwarder) => forwarder.close()));
  }
}
