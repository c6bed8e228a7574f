/** What is mounted in a VM, as the host gave it. */

import { posix } from "node:path";
import { typeError, unavailable, valueError } from "./errors.js";
import type { FileCalls } from "./file-system.js";
import type { Mount, VirtualFileSystem } from "./types.js";
import { readVirtualFileSystem } from "./virtual-file-system.js";

const KEYS = ["path", "source", "readOnly"];

/** A mount, checked and copied. */
export interface MountSettings {
  mount: Mount;
  fileSystem: VirtualFileSystem | undefined;
}

/** Reads one mount. */
export function readMount(value: unknown, option: string): MountSettings {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw typeError(option, "a mount", value);
  const { path, source, readOnly } = value as { path?: unknown; source?: unknown; readOnly?: unknown };
  if (source === "host" || source === "tar") throw unavailable(`${option}.source ${JSON.stringify(source)}`);
  for (const key of Object.keys(value)) {
    if (!KEYS.includes(key)) throw valueError(`${option}.${key}`, `is not known; known are ${KEYS.join(", ")}`, undefined);
  }
  if (typeof path !== "string") throw typeError(`${option}.path`, "a string", path);
  if (!path.startsWith("/") || path.includes("\0")) throw valueError(`${option}.path`, "must be an absolute path", path);
  if (readOnly !== undefined && typeof readOnly !== "boolean") throw typeError(`${option}.readOnly`, "a boolean", readOnly);
  const flags = readOnly === undefined ? {} : { readOnly };
  if (source === "memory") return { mount: { path, source, ...flags }, fileSystem: undefined };
  const fileSystem = readVirtualFileSystem(source, `${option}.source`);
  return { mount: { path, source: fileSystem, ...flags }, fileSystem };
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

  async add({ mount, fileSystem }: MountSettings): Promise<void> {
    const number = this.#next++;
    // The VM looks at its root while it mounts it.
    if (fileSystem !== undefined) this.#fileSystems.set(number, fileSystem);
    try {
      await this.#calls.ask("mount", {
        path: mount.path,
        source: fileSystem === undefined ? "memory" : "virtual",
        readOnly: mount.readOnly === true,
        number,
        pread: typeof fileSystem?.pread === "function",
        pwrite: typeof fileSystem?.pwrite === "function",
      });
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
