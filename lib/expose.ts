/** A port of the host's that leads to a port of a guest. */

import { createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { pipeline } from "node:stream";
import type { GuestNetwork } from "./guest-network.js";
import type { ExposeSettings } from "./options.js";
import type { Exposed } from "./types.js";

/**
 * Opens the port. Each connection to it gets one to the guest; a guest that does not listen refuses by closing.
 * `forget` hears when it is closed.
 */
export async function expose(
  network: GuestNetwork,
  guestPort: number,
  { host, port }: ExposeSettings,
  forget: (exposed: Exposed) => void,
): Promise<Exposed> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
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
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host, port, exclusive: true }, () => {
      server.off("error", reject);
      resolve();
    });
  });
  const address = server.address() as AddressInfo;
  const name = address.family === "IPv6" ? `[${address.address}]` : address.address;
  let closed: Promise<void> | undefined;
  const exposed: Exposed = {
    url: `http://${name}:${address.port}`,
    host: address.address,
    port: address.port,
    close: () =>
      (closed ??= new Promise((resolve) => {
        forget(exposed);
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      })),
  };
  return exposed;
}
