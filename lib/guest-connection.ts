/** A stream to a port of a guest: the kernel's connection as a `Duplex`. */

import { Duplex } from "node:stream";
import type { DuplexOptions } from "node:stream";
import { fromNative } from "./errors.js";
import { WAIT } from "./native.js";
import type { NativeConnection } from "./native.js";

/** Bytes that are read at once, into memory that several reads share. */
const SLAB_BYTES = 64 * 1024;
/** What is read at once for a reader that copies: all that the kernel keeps of a connection. */
const LENT_BYTES = 256 * 1024;
/** A slab with less room than this is left to those who hold parts of it. */
const LEAST_ROOM = 4 * 1024;
/** How long a connection stays that its guest has closed. */
const LINGER_MS = 30_000;
/** Reads in one turn of the host's event loop: a guest that floods does not stop the host. */
const READS_A_TURN = 16;

/** Where a guest wanted to go. */
export interface GuestTarget {
  address: string;
  port: number;
  /** The name that the address was last found for then. */
  name: string | undefined;
  /** Whether the address itself was allowed, not only as the name's. */
  byAddress: boolean;
}

/** The memory that is lent to readers that copy; one of all connections, since each copies before the next reads. */
let lent: Buffer | undefined;

type Done = (error?: Error | null) => void;

/**
 * The host's end of a connection. No port of the host's is involved. It has the methods of `net.Socket` that HTTP and
 * WebSocket libraries call.
 */
export class GuestConnection extends Duplex {
  readonly connecting = false;
  readonly remoteAddress = "127.0.0.1";
  readonly remotePort: number;
  readonly #native: NativeConnection;
  readonly #forget: () => void;
  #slab: Buffer | undefined;
  #used = 0;
  /** Whether the reader has copied all that it got, when it is one that copies. */
  #copied: (() => boolean) | undefined;
  /** The kernel tells when there is more to read. */
  #waits = false;
  /** Goes on once the kernel has room again. */
  #resume: (() => void) | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(native: NativeConnection, port: number, forget: () => void, options?: DuplexOptions) {
    super({ allowHalfOpen: false, readableHighWaterMark: SLAB_BYTES, writableHighWaterMark: SLAB_BYTES, ...options });
    this.#native = native;
    this.#forget = forget;
    this.remotePort = port;
  }

  /** The kernel has something to read, or an end. @internal */
  becameReadable(): void {
    this.#waits = false;
    if (!this.destroyed) this.#pull();
  }

  /** The kernel has room for more. @internal */
  becameWritable(): void {
    const resume = this.#resume;
    this.#resume = undefined;
    resume?.();
  }

  /**
   * Says that whoever reads copies what it gets at once, as long as `copied` says so when asked: then its memory is used
   * again. `undefined` ends that. @internal
   */
  lend(copied: (() => boolean) | undefined): void {
    this.#copied = copied;
  }

  /** Where the guest wanted to go, when it was the guest that connected. @internal */
  get guestTarget(): GuestTarget {
    const { address, port, name, byAddress } = this.#native;
    return { address, port, name: name ?? undefined, byAddress };
  }

  /** The name of the server that the guest speaks TLS to, which is left out here. `null` when it speaks none. @internal */
  get plainTls(): string | null {
    return this.#native.plainTls ?? null;
  }

  /** Ends the connection; the guest's next operation fails with the error of this name, or `ECONNRESET`. @internal */
  fail(error: string): void {
    this.#native.fail(error);
    this.destroy();
  }

  /** The guest has closed the connection: what it sent is worth a while, and its end may wait behind that. @internal */
  guestGone(): void {
    this.setTimeout(LINGER_MS, () => this.destroy());
  }

  /** Emits `timeout` after this time without traffic; 0 for never. */
  setTimeout(ms: number, callback?: () => void): this {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (callback !== undefined) {
      if (ms > 0) this.once("timeout", callback);
      else this.off("timeout", callback);
    }
    if (ms > 0) this.#timer = setTimeout(() => this.emit("timeout"), ms).unref();
    return this;
  }

  /** Bytes are passed on at once in any case. */
  setNoDelay(): this {
    return this;
  }

  /** The other end cannot vanish without being noticed: there is nothing to probe. */
  setKeepAlive(): this {
    return this;
  }

  /** A connection does not keep the host alive: the guest behind it does. */
  ref(): this {
    return this;
  }

  /** See {@link GuestConnection.ref}. */
  unref(): this {
    return this;
  }

  override _read(): void {
    if (!this.#waits) this.#pull();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: Done): void {
    this.#timer?.refresh();
    this.#push(chunk, 0, done);
  }

  override _final(done: Done): void {
    try {
      this.#native.shutdown();
      done();
    } catch (error) {
      done(fromNative(error));
    }
  }

  override _destroy(error: Error | null, done: Done): void {
    clearTimeout(this.#timer);
    this.#resume = undefined;
    this.#slab = undefined;
    this.#native.close();
    this.#forget();
    done(error);
  }

  #push(chunk: Buffer, from: number, done: Done): void {
    let offset = from;
    try {
      while (offset < chunk.length) {
        const written = this.#native.write(chunk, offset);
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

  #pull(): void {
    this.#timer?.refresh();
    for (let reads = 0; reads < READS_A_TURN; reads += 1) {
      const lends = this.#copied !== undefined;
      const slab = lends ? (lent ??= Buffer.allocUnsafeSlow(LENT_BYTES)) : this.#roomy();
      const from = lends ? 0 : this.#used;
      let count;
      try {
        count = this.#native.read(slab, from);
      } catch (error) {
        this.destroy(fromNative(error));
        return;
      }
      if (count === WAIT) {
        this.#waits = true;
        return;
      }
      if (count === 0) {
        this.push(null);
        return;
      }
      // Nobody else may read into it while it is on its way.
      if (lends) lent = undefined;
      else this.#used += count;
      const more = this.push(slab.subarray(from, from + count));
      if (lends && this.readableLength === 0 && this.#copied?.() === true) lent ??= slab;
      if (!more || this.destroyed) return;
    }
    this.#waits = true;
    setImmediate(() => this.becameReadable());
  }

  /** A slab with room after what is used of it. */
  #roomy(): Buffer {
    if (this.#slab === undefined || this.#slab.length - this.#used < LEAST_ROOM) {
      this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
      this.#used = 0;
    }
    return this.#slab;
  }
}
