/** File systems that the host wrote, as the addon asks them. */

import { SecureExecError, typeError, valueError } from "./errors.js";
import type { FileWatch, VirtualFileSystem, VirtualStat, WatchEvent } from "./types.js";

/** What every one must have. */
const REQUIRED = [
  "readFile",
  "readTextFile",
  "readDir",
  "readDirWithTypes",
  "writeFile",
  "createDir",
  "mkdir",
  "exists",
  "stat",
  "removeFile",
  "removeDir",
  "rename",
  "symlink",
  "readlink",
  "lstat",
  "link",
  "chmod",
  "chown",
  "utimes",
  "truncate",
] as const satisfies (keyof VirtualFileSystem)[];

const TYPE_BITS = 0o170000;
const LINK_BITS = 0o120000;

/** Whether a value has every method that is required. */
export function isVirtualFileSystem(value: unknown): value is VirtualFileSystem {
  return typeof value === "object" && value !== null && missing(value) === undefined;
}

/** Checks a file system of the caller's. */
export function readVirtualFileSystem(value: unknown, option: string): VirtualFileSystem {
  if (typeof value !== "object" || value === null) throw typeError(option, "a VirtualFileSystem", value);
  const absent = missing(value);
  if (absent !== undefined) throw valueError(option, `must have the method ${absent}`, value);
  return value as VirtualFileSystem;
}

function missing(value: object): string | undefined {
  return REQUIRED.find((name) => typeof (value as Record<string, unknown>)[name] !== "function");
}

/** What file systems watch for one VM. */
export class HostWatches {
  readonly #tell: (number: number, event: WatchEvent) => void;
  readonly #running = new Map<number, FileWatch>();

  constructor(tell: (number: number, event: WatchEvent) => void) {
    this.#tell = tell;
  }

  async start(fs: VirtualFileSystem, path: string, number: number): Promise<void> {
    const watch = await fs.watch?.(path, (event) => this.#tell(number, event));
    if (typeof watch?.close !== "function") throw new SecureExecError("EIO", "watch must answer with what can be closed");
    this.#running.set(number, watch);
  }

  async stop(number: number): Promise<void> {
    const watch = this.#running.get(number);
    this.#running.delete(number);
    await watch?.close();
  }

  /** Ends all; what fails then has nobody to be told. */
  async close(): Promise<void> {
    await Promise.allSettled([...this.#running.keys()].map((number) => this.stop(number)));
  }
}

interface Request {
  op: string;
  number: number;
  path: string;
  to: string;
  target: string;
  data: Uint8Array;
  mode: number;
  uid: number;
  gid: number;
  atime: number;
  mtime: number;
  length: number;
  offset: number;
}

/** Asks a file system. Its answer is brought into the one form that the addon reads. */
export async function callFileSystem(fs: VirtualFileSystem, request: Request, watches: HostWatches): Promise<unknown> {
  try {
    return await dispatch(fs, request, watches);
  } catch (error) {
    throw withCode(error);
  }
}

async function dispatch(fs: VirtualFileSystem, request: Request, watches: HostWatches): Promise<unknown> {
  const { path, number, to, target, data, mode, uid, gid, atime, mtime, length, offset } = request;
  switch (request.op) {
    case "lstat":
      return stat(await fs.lstat(path));
    case "readFile":
      return bytes(await fs.readFile(path));
    case "readdir":
      return Array.from(await fs.readDirWithTypes(path), (entry) => ({
        name: String(entry.name),
        type: entry.isSymbolicLink === true ? "symlink" : entry.isDirectory ? "directory" : "file",
      }));
    case "readlink":
      return String(await fs.readlink(path));
    case "writeFile":
      return void (await fs.writeFile(path, data));
    case "createDir":
      return void (await fs.createDir(path));
    case "removeFile":
      return void (await fs.removeFile(path));
    case "removeDir":
      return void (await fs.removeDir(path));
    case "rename":
      return void (await fs.rename(path, to));
    case "link":
      return void (await fs.link(path, to));
    case "symlink":
      return void (await fs.symlink(target, path));
    case "chmod":
      return void (await fs.chmod(path, mode));
    case "chown":
      return void (await fs.chown(path, uid, gid));
    case "utimes":
      return void (await fs.utimes(path, atime, mtime));
    case "truncate":
      return void (await fs.truncate(path, length));
    case "pread":
      return bytes(await fs.pread?.(path, offset, length));
    case "pwrite":
      return void (await fs.pwrite?.(path, offset, data));
    case "watch":
      return watches.start(fs, path, number);
    case "unwatch":
      return watches.stop(number);
    default:
      throw new SecureExecError("ENOSYS", `a file system cannot ${request.op}`);
  }
}

function stat(value: VirtualStat): object {
  const { mode, size, atimeMs, mtimeMs, ctimeMs, birthtimeMs, ino, nlink, uid, gid } = value;
  const isLink = value.isSymbolicLink === true || (mode & TYPE_BITS) === LINK_BITS;
  const type = isLink ? "symlink" : value.isDirectory ? "directory" : "file";
  return { type, mode, size, atimeMs, mtimeMs, ctimeMs, birthtimeMs, ino, nlink, uid, gid };
}

function bytes(value: unknown): Uint8Array {
  if (typeof value === "string") return Buffer.from(value);
  if (value instanceof Uint8Array) return value;
  throw new SecureExecError("EIO", "a file system must answer with a Uint8Array");
}

/** An error that has no code often says it at the start of its message, as Node's do. */
function withCode(error: unknown): unknown {
  if (!(error instanceof Error) || typeof (error as { code?: unknown }).code === "string") return error;
  const code = /^(E[A-Z0-9]{2,14})\b/.exec(error.message)?.[1] ?? "EIO";
  return new SecureExecError(code, error.message, { cause: error });
}
