/** File systems for the host's own use that are trees of a kernel: in memory, or a directory of the disk. */

import { posix, resolve } from "node:path";
import { fromNative, rangeError, typeError, valueError } from "./errors.js";
import { FileCalls, HostFileSystem } from "./file-system.js";
import type { WatchListeners } from "./file-system.js";
import { HostCallKind, makeVm, vmRequest } from "./native.js";
import type { NativeVm, NativeVmOptions } from "./native.js";
import type { ValueLimits } from "./values.js";
import type { FileWatch, Mount, VirtualFileSystem, VirtualStat, WatchEvent } from "./types.js";

/** Where the tree stands in its kernel. */
const ROOT = "/tree";
/** What crosses is the host's own: only what a `Uint8Array` can hold bounds it. */
const UNBOUNDED = { jsonPayloadBytes: 2 ** 32 - 1, base64TransferBytes: 2 ** 32 - 1 };
const MAX_BYTES = Number.MAX_SAFE_INTEGER;
/** Names in memory. */
const MAX_ENTRIES = 2 ** 31;

function bare(limits: NativeVmOptions["limits"]): NativeVmOptions {
  return {
    limits,
    freeze: false,
    snapshot: [],
    codeCache: false,
    moduleRoots: [],
    files: [],
    env: [],
    argv: [],
    permissions: [],
    hostFunctions: [],
    warns: false,
    hostCommands: false,
    dnsServers: [],
    dnsOverrides: [],
    loopbackExemptPorts: [],
    hasWayOut: false,
    hasAdapter: false,
    os: {},
    user: { uid: 0, gid: 0 },
  };
}

/** Calls whose errors name paths as the tree's users know them. */
class TreeCalls extends FileCalls {
  override async ask(op: string, fields: Record<string, unknown>, limit?: keyof ValueLimits): Promise<unknown> {
    try {
      return await super.ask(op, fields, limit);
    } catch (error) {
      throw error instanceof Error ? inTree(error) : error;
    }
  }
}

function inTree(error: Error & { path?: unknown; dest?: unknown }): Error {
  const place = (path: string): string => path.slice(ROOT.length) || "/";
  for (const key of ["path", "dest"] as const) {
    const path = error[key];
    if (typeof path !== "string" || !path.startsWith(ROOT)) continue;
    error.message = error.message.replace(`'${path}'`, () => `'${place(path)}'`);
    error[key] = place(path);
  }
  return error;
}

/** A tree of a kernel in which nothing runs. */
abstract class KernelFileSystem implements VirtualFileSystem {
  readonly #fs: HostFileSystem;
  readonly #calls: FileCalls;
  readonly #ready: Promise<unknown>;

  protected constructor(mount: Mount, limits: NativeVmOptions["limits"]) {
    const listeners: WatchListeners = new Map();
    let vm: NativeVm;
    try {
      vm = makeVm(vmRequest(bare(limits)), undefined, (id, kind, target, payload) => {
        if (kind !== HostCallKind.watch) return;
        listeners.get(id)?.({ eventType: target as WatchEvent["eventType"], filename: payload.toString() });
      });
    } catch (error) {
      throw fromNative(error);
    }
    this.#calls = new TreeCalls((request) => vm.fileSystem(request), UNBOUNDED);
    this.#fs = new HostFileSystem(this.#calls, listeners);
    this.#ready = this.#calls.ask("mount", { number: 0, readOnly: false, ...mount });
    // Every call tells.
    this.#ready.catch(() => {});
  }

  /** The tree once it is there, and where a path is in it. */
  async #at(path: string): Promise<[fs: HostFileSystem, place: string]> {
    if (typeof path !== "string") throw typeError("path", "a string", path);
    if (path.includes("\0")) throw valueError("path", "must be a string without null bytes", path);
    await this.#ready;
    // From its root `..` leads to the root.
    return [this.#fs, ROOT + posix.normalize(`/${path}`)];
  }

  async readFile(path: string): Promise<Uint8Array> {
    const [fs, place] = await this.#at(path);
    return fs.readFile(place);
  }

  async readTextFile(path: string): Promise<string> {
    const [fs, place] = await this.#at(path);
    return fs.readTextFile(place);
  }

  async readDir(path: string): Promise<string[]> {
    const [fs, place] = await this.#at(path);
    return fs.readdir(place);
  }

  async readDirWithTypes(path: string): Promise<{ name: string; isDirectory: boolean; isSymbolicLink: boolean }[]> {
    const [fs, place] = await this.#at(path);
    const entries = await fs.readdir(place, { withFileTypes: true });
    return entries.map(({ name, isDirectory, isSymbolicLink }) => ({ name, isDirectory, isSymbolicLink }));
  }

  /** Makes parents, too. */
  async writeFile(path: string, data: string | Uint8Array): Promise<void> {
    const [fs, place] = await this.#at(path);
    return fs.writeFile(place, data);
  }

  /** Makes one directory, which must not be there. */
  async createDir(path: string): Promise<void> {
    const [fs, place] = await this.#at(path);
    return fs.mkdir(place);
  }

  /** Makes a directory and its parents; one that is there is no error. */
  async mkdir(path: string, _options?: { recursive?: boolean }): Promise<void> {
    const [fs, place] = await this.#at(path);
    return fs.mkdir(place, { recursive: true });
  }

  async exists(path: string): Promise<boolean> {
    const [fs, place] = await this.#at(path);
    return fs.exists(place);
  }

  async stat(path: string): Promise<VirtualStat> {
    const [fs, place] = await this.#at(path);
    return fs.stat(place);
  }

  async lstat(path: string): Promise<VirtualStat> {
    const [fs, place] = await this.#at(path);
    return fs.lstat(place);
  }

  async removeFile(path: string): Promise<void> {
    const [, place] = await this.#at(path);
    await this.#calls.ask("unlink", { path: place });
  }

  async removeDir(path: string): Promise<void> {
    const [, place] = await this.#at(path);
    await this.#calls.ask("rmdir", { path: place });
  }

  async rename(from: string, to: string): Promise<void> {
    const [fs, place] = await this.#at(from);
    const [, target] = await this.#at(to);
    return fs.rename(place, target);
  }

  async symlink(target: string, path: string): Promise<void> {
    const [fs, place] = await this.#at(path);
    return fs.symlink(target, place);
  }

  async readlink(path: string): Promise<string> {
    const [fs, place] = await this.#at(path);
    return fs.readlink(place);
  }

  async realpath(path: string): Promise<string> {
    const [fs, place] = await this.#at(path);
    const found = await fs.realpath(place);
    return found.slice(ROOT.length) || "/";
  }

  async link(existing: string, path: string): Promise<void> {
    const [fs, place] = await this.#at(existing);
    const [, target] = await this.#at(path);
    return fs.link(place, target);
  }

  async chmod(path: string, mode: number): Promise<void> {
    const [fs, place] = await this.#at(path);
    return fs.chmod(place, mode);
  }

  async chown(path: string, uid: number, gid: number): Promise<void> {
    const [fs, place] = await this.#at(path);
    return fs.chown(place, uid, gid);
  }

  /** Times are seconds since 1970. */
  async utimes(path: string, atime: number, mtime: number): Promise<void> {
    const [fs, place] = await this.#at(path);
    return fs.utimes(place, atime, mtime);
  }

  async truncate(path: string, length: number): Promise<void> {
    const [fs, place] = await this.#at(path);
    return fs.truncate(place, length);
  }

  async pread(path: string, offset: number, length: number): Promise<Uint8Array> {
    const [, place] = await this.#at(path);
    return (await this.#calls.ask("pread", { path: place, offset, length })) as Uint8Array;
  }

  async pwrite(path: string, offset: number, data: Uint8Array): Promise<void> {
    const [, place] = await this.#at(path);
    await this.#calls.ask("pwrite", { path: place, offset, data });
  }

  async watch(path: string, listener: (event: WatchEvent) => void): Promise<FileWatch> {
    const [fs, place] = await this.#at(path);
    return fs.watch(place, listener);
  }
}

/** Files in memory, for the host and for as many runtimes as mount it. */
export class InMemoryFileSystem extends KernelFileSystem {
  /** `maxBytes`: what its files may hold together, 1 GiB by default; more is `ENOSPC`. */
  constructor(options: { maxBytes?: number } = {}) {
    const { maxBytes = 2 ** 30 } = options;
    if (typeof maxBytes !== "number") throw typeError("maxBytes", "a number", maxBytes);
    if (!Number.isInteger(maxBytes) || maxBytes < 1 || maxBytes > MAX_BYTES) {
      throw rangeError("maxBytes", `an integer from 1 to ${MAX_BYTES}`, maxBytes);
    }
    super({ path: ROOT, source: "memory" }, { maxFilesystemBytes: maxBytes, maxInodes: MAX_ENTRIES });
  }
}

/** An empty file system in memory. */
export function createInMemoryFileSystem(options?: { maxBytes?: number }): InMemoryFileSystem {
  return new InMemoryFileSystem(options);
}

/**
 * A directory of the host's disk. No path, link or race leads out of it: an absolute link, and one that climbs over the
 * root, finds nothing of the host.
 */
export class HostNodeFileSystem extends KernelFileSystem {
  constructor(options: { root: string }) {
    const root: unknown = (options as { root?: unknown } | undefined)?.root;
    if (typeof root !== "string") throw typeError("root", "a string", root);
    if (root === "" || root.includes("\0")) throw valueError("root", "must be the path of a directory", root);
    const limits = { maxBytes: MAX_BYTES, maxEntries: MAX_BYTES };
    super({ path: ROOT, source: "host", hostPath: resolve(root), mode: "rw", ...limits }, {});
  }
}
