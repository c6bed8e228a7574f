/** A port of the host's that leads to a port of a guest. */

import { createServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";
import { pipeline } from "node:stream";
import type { GuestNetwork } from "./guest-network.js";
import type { ExposeSettings } from "./options.js";
import type { Exposed } from "./types.js";

/** A server that leads each of its connections to a guest's port; a guest that does not listen refuses by closing. */
export class Forwarder {
  readonly server: Server;
  readonly #sockets = new Set<Socket>();
  #closed: Promise<void> | undefined;

  constructor(network: GuestNetwork, guestPort: number) {
    this.server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
      // A peer that resets ends its connection, nothing else.
      socket.on("error", () => {});
      network.connect(guestPort, { allowHalfOpen: true }).then(
        (guest) => {
          pipeline(socket, guest, () => {});
          pipeline(guest, socket, (error) => {
            if (error != null) socket.destroy();
          });
        },
        () => socket.destroy(),
      );
    });
  }

  /** Closes the port and its connections. */
  close(): Promise<void> {
    return (this.#closed ??= new Promise((resolve) => {
      this.server.close(() => resolve());
      for (const socket of this.#sockets) socket.destroy();
    }));
  }
}

/**
 * Opens the port. `forget` hears when it is closed.
 */
export async function expose(
  network: GuestNetwork,
  guestPort: number,
  { host, port }: ExposeSettings,
  forget: (exposed: Exposed) => void,
): Promise<Exposed> {
  const forwarder = new Forwarder(network, guestPort);
  const { server } = forwarder;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host, port, exclusive: true }, () => {
      server.off("error", reject);
      resolve();
    });
  });
  const address = server.address() as AddressInfo;
  const name = address.family === "IPv6" ? `[${address.address}]` : address.address;
  const exposed: Exposed = {
    url: `http://${name}:${address.port}`,
    host: address.address,
    port: address.port,
    close: () => {
      forget(exposed);
      return forwarder.close();
    },
  };
  return exposed;
}
