/** `runtime.fs`: the VM's files as the host uses them. */

import { SecureExecError, rangeError, typeError, valueError } from "./errors.js";
import type { FileStat, FileType, FileWatch, HostDirEntry, WatchEvent } from "./types.js";
import { decodeInTurns, encode } from "./values.js";
import type { ValueLimits } from "./values.js";

/** Sends an encoded request to the VM. */
export type Send = (request: Buffer) => Promise<Buffer>;

/** Beside the data of a request: its names and paths. */
const REQUEST_LIMITS = { jsonPayloadBytes: 1 << 20, base64TransferBytes: Number.MAX_SAFE_INTEGER };
const MAX_MODE = 0o7777;
const MAX_ID = 2 ** 32 - 2;

/** Who hears of the host's watches, by their numbers. */
export type WatchListeners = Map<number, (event: WatchEvent) => void>;

interface NativeError {
  code: string;
  message?: string;
  errno?: number;
  syscall?: string;
  path?: string;
  dest?: string;
  used?: number;
}

interface NativeStat extends Omit<FileStat, "isFile" | "isDirectory" | "isSymbolicLink"> {
  type: FileType;
}

function path(value: unknown, option = "path"): string {
  if (typeof value !== "string") throw typeError(option, "a string", value);
  if (!value.startsWith("/")) throw valueError(option, "must be an absolute path", value);
  if (value.includes("\0")) throw valueError(option, "must be a string without null bytes", value);
  return value;
}

function number(value: unknown, option: string, max: number): number {
  if (typeof value !== "number") throw typeError(option, "a number", value);
  if (!Number.isInteger(value) || value < 0 || value > max) throw rangeError(option, `an integer from 0 to ${max}`, value);
  return value;
}

/** Seconds since 1970, as `fs.utimes` takes them. */
function seconds(value: unknown, option: string): number {
  const given = value instanceof Date ? value.getTime() / 1000 : value;
  if (typeof given !== "number") throw typeError(option, "a number of seconds or a Date", value);
  if (!Number.isFinite(given)) throw rangeError(option, "a finite number of seconds", given);
  return given;
}

/** An error of the VM's file system, as Node's `fs` makes it, or a limit's. */
function failure(error: NativeError): Error {
  const { message = "", ...details } = error;
  return Object.assign(new Error(message), JSON.parse(JSON.stringify(details)) as object);
}

/** Carries requests about files. */
export class FileCalls {
  readonly #send: Send;
  readonly #pending = new Set<Promise<Buffer>>();
  readonly limits: ValueLimits;

  constructor(send: Send, limits: ValueLimits) {
    this.#send = send;
    this.limits = limits;
  }

  /** Resolves when what was asked so far has been answered. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#pending);
  }

  /** Asks, and throws what the VM answers with an error. `limit` is what may come back, and `option` what raises it. */
  async ask(op: string, fields: Record<string, unknown>, limit?: keyof ValueLimits): Promise<unknown> {
    const request = limit === undefined ? { op, ...fields } : { op, ...fields, limit: this.limits[limit] };
    const sent = this.#send(encode(request, REQUEST_LIMITS));
    this.#pending.add(sent);
    const bytes = await sent.finally(() => this.#pending.delete(sent));
    const answer = (await decodeInTurns(bytes)) as { value?: unknown; error?: NativeError };
    const { error } = answer;
    if (error === undefined) return answer.value;
    if (error.code === "ERR_SANDBOX_PAYLOAD_TOO_LARGE" && limit !== undefined) throw this.tooLarge(error.used ?? 0, limit);
    throw failure(error);
  }

  /** The error for more than may cross at once. */
  tooLarge(used: number, limit: keyof ValueLimits): SecureExecError {
    const configured = this.limits[limit];
    const option = `payloadLimits.${limit}`;
    const what = limit === "base64TransferBytes" ? "binary payload size" : "payload size";
    const message = `${what} exceeded: at least ${used} needed, the limit is ${configured} bytes (option ${option})`;
    return new SecureExecError("ERR_SANDBOX_PAYLOAD_TOO_LARGE", message, { limit: what, configured, used, option });
  }
}

/**
 * The VM's file system from the host's side: the same tree that guests see, live. Calls act as root, are not asked for
 * permission, and run off the host's main thread. Paths are absolute. Errors are Node's (`code`, `errno`, `syscall`,
 * `path`). What crosses is limited by `payloadLimits`: text by `jsonPayloadBytes`, bytes by `base64TransferBytes`.
 */
export class HostFileSystem {
  readonly #calls: FileCalls;
  readonly #listeners: WatchListeners;
  #nextWatch = 1;

  /** @internal */
  constructor(calls: FileCalls, listeners: WatchListeners) {
    this.#calls = calls;
    this.#listeners = listeners;
  }

  /**
   * Calls `listener` when something happens to a file or in a directory, whoever does it, until it is closed or the
   * runtime is disposed of. An exception in it is ignored. A watch keeps no process alive.
   */
  async watch(file: string, listener: (event: WatchEvent) => void): Promise<FileWatch> {
    if (typeof listener !== "function") throw typeError("listener", "a function", listener);
    const number = this.#nextWatch++;
    this.#listeners.set(number, (event) => {
      try {
        listener(event);
      } catch {
        // The listener is the host's own affair, as hooks are.
      }
    });
    try {
      await this.#calls.ask("watch", { path: path(file), number });
    } catch (error) {
      this.#listeners.delete(number);
      throw error;
    }
    return {
      close: async () => {
        if (!this.#listeners.delete(number)) return;
        await this.#calls.ask("unwatch", { path: "/", number }).catch(() => {});
      },
    };
  }

  /** The bytes of a file, or its text. */
  readFile(file: string): Promise<Uint8Array>;
  readFile(file: string, encoding: "utf8" | "utf-8"): Promise<string>;
  async readFile(file: string, encoding?: "utf8" | "utf-8"): Promise<Uint8Array | string> {
    if (encoding === undefined) {
      return (await this.#calls.ask("readFile", { path: path(file) }, "base64TransferBytes")) as Uint8Array;
    }
    if (encoding !== "utf8" && encoding !== "utf-8") throw valueError("encoding", 'must be "utf8"', encoding);
    return this.readTextFile(file);
  }

  /** The text of a file, with invalid UTF-8 replaced. */
  async readTextFile(file: string): Promise<string> {
    const bytes = (await this.#calls.ask("readFile", { path: path(file) }, "jsonPayloadBytes")) as Uint8Array;
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
  }

  /** Writes a file and makes its parents. */
  async writeFile(file: string, data: string | Uint8Array): Promise<void> {
    await this.#calls.ask("writeFile", { path: path(file), data: this.#data(data) });
  }

  /** Adds to the end of a file, which is made if it is missing. */
  async appendFile(file: string, data: string | Uint8Array): Promise<void> {
    await this.#calls.ask("appendFile", { path: path(file), data: this.#data(data) });
  }

  /** Names in a directory, sorted. */
  readdir(directory: string): Promise<string[]>;
  readdir(directory: string, options: { withFileTypes: true }): Promise<HostDirEntry[]>;
  async readdir(directory: string, options?: { withFileTypes?: boolean }): Promise<string[] | HostDirEntry[]> {
    const found = (await this.#calls.ask("readdir", { path: path(directory) }, "jsonPayloadBytes")) as {
      name: string;
      type: FileType;
    }[];
    if (options?.withFileTypes !== true) return found.map(({ name }) => name);
    return found.map(({ name, type }) => ({ name, type, ...kinds(type) }));
  }

  /** What is at a path, with links followed. */
  async stat(file: string): Promise<FileStat> {
    return stats(await this.#calls.ask("stat", { path: path(file) }));
  }

  /** What is at a path, the link itself if it is one. */
  async lstat(file: string): Promise<FileStat> {
    return stats(await this.#calls.ask("lstat", { path: path(file) }));
  }

  /** Whether there is something, with links followed. */
  async exists(file: string): Promise<boolean> {
    return (await this.#calls.ask("exists", { path: path(file) })) === true;
  }

  /** Makes a directory, with `recursive` its parents too. */
  async mkdir(directory: string, options?: { recursive?: boolean }): Promise<void> {
    await this.#calls.ask("mkdir", { path: path(directory), recursive: options?.recursive === true });
  }

  /** Removes a file or an empty directory; with `recursive` whatever it is. With `force` a missing one is no error. */
  async rm(file: string, options?: { recursive?: boolean; force?: boolean }): Promise<void> {
    const { recursive, force } = options ?? {};
    await this.#calls.ask("rm", { path: path(file), recursive: recursive === true, force: force === true });
  }

  /** Moves a file or a directory. */
  async rename(from: string, to: string): Promise<void> {
    await this.#calls.ask("rename", { path: path(from, "from"), to: path(to, "to") });
  }

  /** Copies a file with its mode. */
  async copyFile(from: string, to: string): Promise<void> {
    await this.#calls.ask("copyFile", { path: path(from, "from"), to: path(to, "to") });
  }

  /** Gives a file another name. */
  async link(existing: string, to: string): Promise<void> {
    await this.#calls.ask("link", { path: path(existing, "existing"), to: path(to, "to") });
  }

  /** Makes a symbolic link at `file` that leads to `target`. */
  async symlink(target: string, file: string): Promise<void> {
    if (typeof target !== "string") throw typeError("target", "a string", target);
    await this.#calls.ask("symlink", { target, path: path(file) });
  }

  /** Where a symbolic link leads, as it is written. */
  async readlink(file: string): Promise<string> {
    return (await this.#calls.ask("readlink", { path: path(file) })) as string;
  }

  /** The path without links. */
  async realpath(file: string): Promise<string> {
    return (await this.#calls.ask("realpath", { path: path(file) })) as string;
  }

  async chmod(file: string, mode: number): Promise<void> {
    await this.#calls.ask("chmod", { path: path(file), mode: number(mode, "mode", MAX_MODE) });
  }

  async chown(file: string, uid: number, gid: number): Promise<void> {
    const owner = { uid: number(uid, "uid", MAX_ID), gid: number(gid, "gid", MAX_ID) };
    await this.#calls.ask("chown", { path: path(file), ...owner });
  }

  /** Sets the times of access and modification: seconds since 1970 or a `Date`. */
  async utimes(file: string, atime: number | Date, mtime: number | Date): Promise<void> {
    const times = { atime: seconds(atime, "atime"), mtime: seconds(mtime, "mtime") };
    await this.#calls.ask("utimes", { path: path(file), ...times });
  }

  /** Cuts a file or extends it with zeros. */
  async truncate(file: string, length = 0): Promise<void> {
    await this.#calls.ask("truncate", { path: path(file), length: number(length, "length", Number.MAX_SAFE_INTEGER) });
  }

  #data(value: unknown): Uint8Array {
    const { limits } = this.#calls;
    if (typeof value === "string") {
      const size = Buffer.byteLength(value);
      if (size > limits.jsonPayloadBytes) throw this.#calls.tooLarge(size, "jsonPayloadBytes");
      return Buffer.from(value);
    }
    if (!(value instanceof Uint8Array)) throw typeError("data", "a string or a Uint8Array", value);
    if (value.byteLength > limits.base64TransferBytes) throw this.#calls.tooLarge(value.byteLength, "base64TransferBytes");
    return value;
  }
}

function kinds(type: FileType): Pick<FileStat, "isFile" | "isDirectory" | "isSymbolicLink"> {
  return { isFile: type === "file", isDirectory: type === "directory", isSymbolicLink: type === "symlink" };
}

function stats(answer: unknown): FileStat {
  const { type, ...rest } = answer as NativeStat;
  return { type, ...rest, ...kinds(type) };
}
