/** One VM's network from the host's side: connections to guests' servers, and waiting for those servers. */

import { isIP } from "node:net";
import type { DuplexOptions } from "node:stream";
import { SecureExecError, disposedError, fromNative } from "./errors.js";
import { GuestConnection } from "./guest-connection.js";
import type { GuestTarget } from "./guest-connection.js";
import { HostPorts } from "./host-ports.js";
import { NetworkEventKind } from "./native.js";
import type { NativeConnection, NativeListenerInfo, NativeListenerQuery, NativeNetwork, NativeNetworkRequest, NativeVm } from "./native.js";
import type { ListenerSettings } from "./options.js";
import { describeEnd, guestError } from "./outcome.js";
import type { Programs } from "./programs.js";
import type { Listener, ListenerQuery } from "./types.js";

/** What is outside of a VM, to its guests. Neither of its methods throws or rejects. */
export interface GuestOutside {
  connected(connection: GuestConnection): void;
  /** An address, or the name of an error. */
  lookup(name: string): Promise<{ address?: string; error?: string }>;
}

/** Connections of guests that are taken in one turn of the host's event loop: a guest that floods does not stop the host. */
const CONNECTIONS_A_TURN = 16;

type Sink = (kind: number, listener: NativeListenerInfo | null | undefined) => void;

/** See the module's text. */
export class GuestNetwork {
  readonly #native: NativeNetwork;
  readonly #programs: Programs;
  /** Who hears of events, by number. */
  readonly #sinks: Map<number, Sink>;
  readonly #connections = new Set<GuestConnection>();
  /** Ends those who wait for something when the runtime is disposed of. */
  readonly #endings = new Set<(error: Error) => void>();
  #hostPorts: HostPorts | undefined;
  #outside: GuestOutside | undefined;
  #lastId = 0;
  #closed = false;

  constructor(vm: NativeVm, programs: Programs) {
    const sinks = (this.#sinks = new Map<number, Sink>());
    // The addon keeps the callback: it must not keep this object.
    const weak = new WeakRef(this);
    this.#native = vm.network((id, kind, listener) => {
      if (kind === NetworkEventKind.hostPort) weak.deref()?.hostPortChanged(id);
      else if (kind === NetworkEventKind.guestConnection) weak.deref()?.guestConnected();
      else if (kind === NetworkEventKind.guestName) weak.deref()?.guestLooksUp(id);
      else sinks.get(id)?.(kind, listener);
    });
    this.#programs = programs;
  }

  /** Whether the runtime was disposed of. */
  get closed(): boolean {
    return this.#closed;
  }

  /** A connection, or `undefined` while the listener's backlog is full. Throws when there is no listener. */
  tryConnect(port: number, options?: DuplexOptions): GuestConnection | undefined {
    return this.#attempt(this.#newId(), port, options);
  }

  /** A connection, as soon as the listener's backlog has room. Rejects when there is no listener. */
  async connect(port: number, options?: DuplexOptions): Promise<GuestConnection> {
    for (;;) {
      const id = this.#newId();
      let hasRoom: (() => void) | undefined;
      const room = new Promise<void>((resolve) => (hasRoom = resolve));
      this.#sinks.set(id, () => hasRoom?.());
      try {
        const connection = this.#attempt(id, port, options);
        if (connection !== undefined) return connection;
        await this.#untilClosed(room);
      } catch (error) {
        this.#sinks.delete(id);
        throw error;
      }
      this.#sinks.delete(id);
    }
  }

  /** A connection as a guest would open it: to what the VM listens on, or out, as far as its permissions go. */
  async dial(address: string, port: number): Promise<GuestConnection> {
    if (this.#closed) throw disposedError("the runtime");
    const id = this.#newId();
    const connecting = this.#native.dial(id, address, port);
    let native;
    try {
      native = await this.#untilClosed(connecting);
    } catch (error) {
      void connecting.then((late) => late.close(), () => {});
      throw fromNative(error);
    }
    return this.#adopt(native, id, port);
  }

  /** The addresses of a name as a guest would find them. */
  async lookup(name: string): Promise<string[]> {
    if (this.#closed) throw disposedError("the runtime");
    return this.#untilClosed(this.#native.lookup(name)).catch((error: unknown) => {
      throw fromNative(error);
    });
  }

  /** Rejects when `permissions.network` does not let the request be made. */
  async mayRequest(request: NativeNetworkRequest): Promise<void> {
    if (this.#closed) throw disposedError("the runtime");
    return this.#untilClosed(this.#native.mayRequest(request)).catch((error: unknown) => {
      throw fromNative(error);
    });
  }

  /** A listener that the query means. */
  find(query: ListenerQuery): Listener | null {
    if (this.#closed) throw disposedError("the runtime");
    try {
      const found = this.#native.findListener(nativeQuery(query));
      return found == null ? null : publicListener(found);
    } catch (error) {
      throw fromNative(error);
    }
  }

  /** The same, as soon as there is one. */
  async wait({ query, timeoutMs, signal }: ListenerSettings): Promise<Listener> {
    signal?.throwIfAborted();
    const known = this.find(query);
    if (known !== null) return known;
    const id = this.#newId();
    const meant = describeQuery(query);
    return new Promise((resolve, reject) => {
      const settle = (end: () => void): void => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
        this.#sinks.delete(id);
        this.#endings.delete(fail);
        stopWatching();
        this.#native.stopWaiting(id);
        end();
      };
      const fail = (error: Error): void => settle(() => reject(error));
      const abort = (): void => fail(signal?.reason as Error);
      const timer = setTimeout(() => {
        const last = this.#programs.lastEnd;
        const hint = last === undefined ? "" : `; the last process that ended: ${describeEnd(last)}`;
        const details = last?.error === undefined ? {} : { cause: guestError(last.error) };
        fail(new SecureExecError("ERR_LISTENER_TIMEOUT", `no listener on ${meant} within ${timeoutMs} ms${hint}`, details));
      }, timeoutMs);
      this.#sinks.set(id, (_kind, listener) => {
        if (listener != null) settle(() => resolve(publicListener(listener)));
      });
      this.#endings.add(fail);
      signal?.addEventListener("abort", abort, { once: true });
      let stopWatching = (): void => {};
      try {
        this.#native.waitForListener(id, nativeQuery(query));
      } catch (error) {
        fail(fromNative(error));
        return;
      }
      stopWatching = this.#programs.onNobodyLeft((ended) => {
        const message = `the process ended before it listened on ${meant}: ${describeEnd(ended)}`;
        const details = ended.error === undefined ? {} : { cause: guestError(ended.error) };
        fail(new SecureExecError("ERR_LISTENER_EXITED", message, details));
      });
    });
  }

  /** From now on the ports of guests are ports of the host's, too. */
  openHostPorts(): void {
    this.#hostPorts ??= new HostPorts(this, this.#native);
    this.#native.openHostPorts();
  }

  /** Does what there is to do about a port of the host's. */
  hostPortChanged(port: number): void {
    this.#hostPorts?.update(port);
  }

  /** Closes the host's ports on which no guest listens any more. */
  refreshHostPorts(): void {
    this.#hostPorts?.refresh();
  }

  /** From now on guests reach the outside through this, and nothing else. */
  serveGuests(outside: GuestOutside): void {
    this.#outside = outside;
    this.#native.serveGuests();
  }

  /** Takes the connections that guests have opened to the outside. */
  guestConnected(): void {
    for (let taken = 0; taken < CONNECTIONS_A_TURN; taken += 1) {
      const id = this.#newId();
      const native = this.#native.nextGuestConnection(id);
      if (native == null) return;
      const connection = this.#adopt(native, id, native.port, { allowHalfOpen: true });
      if (this.#closed || this.#outside === undefined) connection.destroy();
      else this.#outside.connected(connection);
    }
    setImmediate(() => this.guestConnected());
  }

  /** Answers the name that a guest looks up under this number. */
  guestLooksUp(id: number): void {
    const name = this.#native.guestName(id);
    if (name == null || this.#outside === undefined) return;
    void this.#outside.lookup(name).then(({ address, error }) => this.#native.answerGuestName(id, address, error));
  }

  /** Which host a guest means that asks for `host` on a connection to a place; `undefined` when it may not mean any. */
  meantHost({ address, name, byAddress }: GuestTarget, host: string): string | undefined {
    return this.#native.meantHost(address, byAddress, name, host) ?? undefined;
  }

  /** Closes every connection and ends every wait. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    const ports = this.#hostPorts?.close();
    for (const connection of this.#connections) connection.destroy();
    for (const end of [...this.#endings]) end(disposedError("the runtime"));
    this.#sinks.clear();
    await ports;
  }

  #newId(): number {
    this.#lastId = (this.#lastId + 1) % 2 ** 32;
    return this.#lastId;
  }

  #attempt(id: number, port: number, options?: DuplexOptions): GuestConnection | undefined {
    if (this.#closed) throw disposedError("the runtime");
    let native;
    try {
      native = this.#native.connect(id, port);
    } catch (error) {
      throw connectError(fromNative(error), port);
    }
    return native == null ? undefined : this.#adopt(native, id, port, options);
  }

  #adopt(native: NativeConnection, id: number, port: number, options?: DuplexOptions): GuestConnection {
    const forget = (): void => {
      this.#connections.delete(connection);
      this.#sinks.delete(id);
    };
    const connection = new GuestConnection(native, port, forget, options);
    this.#connections.add(connection);
    this.#sinks.set(id, (kind) => {
      if (kind === NetworkEventKind.readable) connection.becameReadable();
      else if (kind === NetworkEventKind.guestGone) connection.guestGone();
      else connection.becameWritable();
    });
    return connection;
  }

  #untilClosed<T>(wanted: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#endings.add(reject);
      wanted.then(
        (value) => {
          this.#endings.delete(reject);
          resolve(value);
        },
        (error: Error) => {
          this.#endings.delete(reject);
          reject(error);
        },
      );
    });
  }
}

function connectError(error: Error & { code?: string }, port: number): Error {
  if (error.code !== "ECONNREFUSED") return error;
  return new SecureExecError("ECONNREFUSED", `nothing in the guest listens on port ${port}`, { cause: error });
}

/** Names of the loopback interface are not addresses: a listener there is found by either of its addresses. */
function nativeQuery({ port, host, path }: ListenerQuery): NativeListenerQuery {
  const query: NativeListenerQuery = {};
  if (port !== undefined) query.port = port;
  if (host !== undefined && isIP(host) !== 0) query.host = host;
  if (path !== undefined) query.path = path;
  return query;
}

function publicListener({ pid, port, host, path }: NativeListenerInfo): Listener {
  const listener: Listener = { pid, processId: pid, port };
  if (host != null) listener.host = host;
  if (path != null) listener.path = path;
  return listener;
}

function describeQuery({ port, host, path }: ListenerQuery): string {
  if (path !== undefined) return path;
  if (port === undefined) return host ?? "any port";
  return host === undefined ? `port ${port}` : `${host} port ${port}`;
}
