/** The host's own disk as a file system: all of it. */

import { promises as fs, watch as watchFile } from "node:fs";
import type { Stats } from "node:fs";
import { dirname } from "node:path";
import type { FileWatch, VirtualFileSystem, VirtualStat, WatchEvent } from "./types.js";

function statOf(stats: Stats): VirtualStat {
  const { mode, size, atimeMs, mtimeMs, ctimeMs, birthtimeMs, ino, nlink, uid, gid } = stats;
  const kinds = { isDirectory: stats.isDirectory(), isSymbolicLink: stats.isSymbolicLink() };
  return { mode, size, ...kinds, atimeMs, mtimeMs, ctimeMs, birthtimeMs, ino, nlink, uid, gid };
}

/**
 * The whole disk of the host, with the rights of this process; `permissions.fs` is all that keeps a guest from it. A
 * mount with `source: "host"`, or {@link HostNodeFileSystem}, gives one directory and nothing else.
 */
export class NodeFileSystem implements VirtualFileSystem {
  async readFile(path: string): Promise<Uint8Array> {
    return fs.readFile(path);
  }

  async readTextFile(path: string): Promise<string> {
    return fs.readFile(path, "utf8");
  }

  async readDir(path: string): Promise<string[]> {
    return fs.readdir(path);
  }

  async readDirWithTypes(path: string): Promise<{ name: string; isDirectory: boolean; isSymbolicLink: boolean }[]> {
    const entries = await fs.readdir(path, { withFileTypes: true });
    return entries.map((entry) => ({
      name: entry.name,
      isDirectory: entry.isDirectory(),
      isSymbolicLink: entry.isSymbolicLink(),
    }));
  }

  /** Makes parents, too. */
  async writeFile(path: string, data: string | Uint8Array): Promise<void> {
    await fs.mkdir(dirname(path), { recursive: true });
    await fs.writeFile(path, data);
  }

  /** Makes one directory, which must not be there. */
  async createDir(path: string): Promise<void> {
    await fs.mkdir(path);
  }

  /** Makes a directory and its parents; one that is there is no error. */
  async mkdir(path: string, _options?: { recursive?: boolean }): Promise<void> {
    await fs.mkdir(path, { recursive: true });
  }

  async exists(path: string): Promise<boolean> {
    return fs.access(path).then(
      () => true,
      () => false,
    );
  }

  async stat(path: string): Promise<VirtualStat> {
    return statOf(await fs.stat(path));
  }

  async lstat(path: string): Promise<VirtualStat> {
    return statOf(await fs.lstat(path));
  }

  async removeFile(path: string): Promise<void> {
    await fs.unlink(path);
  }

  async removeDir(path: string): Promise<void> {
    await fs.rmdir(path);
  }

  async rename(from: string, to: string): Promise<void> {
    await fs.rename(from, to);
  }

  async symlink(target: string, path: string): Promise<void> {
    await fs.symlink(target, path);
  }

  async readlink(path: string): Promise<string> {
    return fs.readlink(path);
  }

  async realpath(path: string): Promise<string> {
    return fs.realpath(path);
  }

  async link(existing: string, path: string): Promise<void> {
    await fs.link(existing, path);
  }

  async chmod(path: string, mode: number): Promise<void> {
    await fs.chmod(path, mode);
  }

  async chown(path: string, uid: number, gid: number): Promise<void> {
    await fs.lchown(path, uid, gid);
  }

  /** Times are seconds since 1970. */
  async utimes(path: string, atime: number, mtime: number): Promise<void> {
    await fs.lutimes(path, atime, mtime);
  }

  async truncate(path: string, length: number): Promise<void> {
    await fs.truncate(path, length);
  }

  async pread(path: string, offset: number, length: number): Promise<Uint8Array> {
    const file = await fs.open(path, "r");
    try {
      const { size } = await file.stat();
      const data = Buffer.alloc(Math.max(0, Math.min(length, size - offset)));
      let read = 0;
      while (read < data.length) {
        const { bytesRead } = await file.read(data, read, data.length - read, offset + read);
        if (bytesRead === 0) break;
        read += bytesRead;
      }
      return data.subarray(0, read);
    } finally {
      await file.close();
    }
  }

  async pwrite(path: string, offset: number, data: Uint8Array): Promise<void> {
    const file = await fs.open(path, "r+");
    try {
      let written = 0;
      while (written < data.length) {
        const { bytesWritten } = await file.write(data, written, data.length - written, offset + written);
        written += bytesWritten;
      }
    } finally {
      await file.close();
    }
  }

  watch(path: string, listener: (event: WatchEvent) => void): FileWatch {
    const watcher = watchFile(path, { persistent: false }, (eventType, filename) => {
      listener({ eventType, filename: filename ?? "" });
    });
    // What is watched may go; then there is nothing more to tell.
    watcher.on("error", () => watcher.close());
    return watcher;
  }
}
