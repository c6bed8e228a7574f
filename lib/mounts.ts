/** What is mounted in a VM, as the host gave it. */

import { isAbsolute, posix } from "node:path";
import { rangeError, typeError, valueError } from "./errors.js";
import type { FileCalls } from "./file-system.js";
import type { Mount, VirtualFileSystem } from "./types.js";
import { readVirtualFileSystem } from "./virtual-file-system.js";

const MODES = ["ro", "rw", "cow"] as const;
const KEYS = ["path", "source", "readOnly"];

/** A mount, checked and copied. */
export interface MountSettings {
  mount: Mount;
  /** What the addon is told beside the path. */
  request: Record<string, unknown>;
  fileSystem: VirtualFileSystem | undefined;
}

function limit(option: string, name: "maxBytes" | "maxEntries", value: unknown): { maxBytes?: number; maxEntries?: number } {
  if (value === undefined) return {};
  if (typeof value !== "number") throw typeError(`${option}.${name}`, "a number", value);
  if (!Number.isSafeInteger(value) || value < 0) throw rangeError(`${option}.${name}`, "an integer from 0 to 2^53 - 1", value);
  return { [name]: value };
}

/** Reads one mount. */
export function readMount(value: unknown, option: string): MountSettings {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw typeError(option, "a mount", value);
  if ("guestPath" in value) {
    const { guestPath, readOnly = true, ...rest } = value as Record<string, unknown>;
    if (typeof readOnly !== "boolean") throw typeError(`${option}.readOnly`, "a boolean", readOnly);
    for (const key of ["path", "source", "mode"]) {
      if (key in rest) throw valueError(`${option}.${key}`, "cannot stand beside guestPath", rest[key]);
    }
    return readMount({ ...rest, path: guestPath, source: "host", mode: readOnly ? "ro" : "rw" }, option);
  }
  const { path, source, readOnly, hostPath, mode, data, maxBytes, maxEntries } = value as Record<string, unknown>;
  const known = source === "host" ? ["path", "source", "hostPath", "mode", "maxBytes", "maxEntries"] : source === "tar" ? [...KEYS, "data"] : KEYS;
  for (const key of Object.keys(value)) {
    if (!known.includes(key)) throw valueError(`${option}.${key}`, `is not known; known are ${known.join(", ")}`, undefined);
  }
  if (typeof path !== "string") throw typeError(`${option}.path`, "a string", path);
  if (!path.startsWith("/") || path.includes("\0")) throw valueError(`${option}.path`, "must be an absolute path", path);
  if (readOnly !== undefined && typeof readOnly !== "boolean") throw typeError(`${option}.readOnly`, "a boolean", readOnly);
  const flags = readOnly === undefined ? {} : { readOnly };
  switch (source) {
    case "memory":
      return { mount: { path, source, ...flags }, request: { source, ...flags }, fileSystem: undefined };
    case "host": {
      if (typeof hostPath !== "string") throw typeError(`${option}.hostPath`, "a string", hostPath);
      if (!isAbsolute(hostPath) || hostPath.includes("\0")) {
        throw valueError(`${option}.hostPath`, "must be an absolute path", hostPath);
      }
      const access = MODES.find((known) => known === mode);
      if (access === undefined) throw valueError(`${option}.mode`, 'must be "ro", "rw" or "cow"', mode);
      const limits = { ...limit(option, "maxBytes", maxBytes), ...limit(option, "maxEntries", maxEntries) };
      if (access !== "rw" && Object.keys(limits).length > 0) {
        throw valueError(`${option}.mode`, 'must be "rw" where maxBytes or maxEntries is given', mode);
      }
      const mount = { path, source, hostPath, mode: access, ...limits } as const;
      return { mount, request: { ...mount, readOnly: access === "ro" }, fileSystem: undefined };
    }
    case "tar": {
      if (!(data instanceof Uint8Array)) throw typeError(`${option}.data`, "a Uint8Array", data);
      const copy = Uint8Array.from(data);
      return { mount: { path, source, data: copy, ...flags }, request: { source, data: copy, ...flags }, fileSystem: undefined };
    }
    default: {
      const fileSystem = readVirtualFileSystem(source, `${option}.source`);
      const pread = typeof fileSystem.pread === "function";
      const pwrite = typeof fileSystem.pwrite === "function";
      const watch = typeof fileSystem.watch === "function";
      return {
        mount: { path, source: fileSystem, ...flags },
        request: { source: "virtual", pread, pwrite, watch, ...flags },
        fileSystem,
      };
    }
  }
}

/** Reads the option `mounts`. */
export function readMounts(value: unknown): MountSettings[] {
  if (!Array.isArray(value)) throw typeError("mounts", "an array of mounts", value);
  return Array.from(value as unknown[], (mount, index) => readMount(mount, `mounts[${index}]`));
}

/** The mounts of one VM. */
export class MountTable {
  readonly #calls: FileCalls;
  readonly #mounts = new Map<string, { mount: Mount; number: number }>();
  readonly #fileSystems = new Map<number, VirtualFileSystem>();
  #next = 1;

  constructor(calls: FileCalls) {
    this.#calls = calls;
  }

  /** The file system of that number, while it is mounted. */
  fileSystem(number: number): VirtualFileSystem | undefined {
    return this.#fileSystems.get(number);
  }

  async add({ mount, request, fileSystem }: MountSettings): Promise<void> {
    const number = this.#next++;
    // The VM looks at its root while it mounts it.
    if (fileSystem !== undefined) this.#fileSystems.set(number, fileSystem);
    try {
      await this.#calls.ask("mount", { ...request, path: mount.path, number });
    } catch (error) {
      this.#fileSystems.delete(number);
      throw error;
    }
    this.#mounts.set(normal(mount.path), { mount, number });
  }

  async remove(path: string): Promise<void> {
    if (typeof path !== "string") throw typeError("path", "a string", path);
    await this.#calls.ask("unmount", { path });
    const known = this.#mounts.get(normal(path));
    if (known === undefined) return;
    this.#mounts.delete(normal(path));
    this.#fileSystems.delete(known.number);
  }

  /** Copies of what was given, in the order of mounting. */
  list(): Mount[] {
    return Array.from(this.#mounts.values(), ({ mount }) => ({ ...mount }));
  }
}

/** A path in the one form in which it is known. */
function normal(path: string): string {
  return posix.join(path, "/");
}
