/** The VM's files from the host's side, and file systems that the host writes. */

import { NodeRuntime } from "secure-exec";
import type { NodeRuntimeCreateOptions, VirtualFileSystem, VirtualStat } from "secure-exec";
import { describe, expect, test } from "vitest";
import { inChild, lastLine, make } from "./support.js";

describe("runtime.fs", () => {
  test("reads and writes text and bytes, and makes parents", async () => {
    const { fs } = await make({ files: { "/data/a/b.bin": new Uint8Array([0, 255, 128]), "/data/t.txt": "ä" } });
    expect(await fs.readFile("/data/a/b.bin")).toEqual(new Uint8Array([0, 255, 128]));
    expect(await fs.readFile("/data/t.txt", "utf8")).toBe("ä");
    await fs.writeFile("/new/deep/x", "x");
    await fs.appendFile("/new/deep/x", new Uint8Array([0x79]));
    await fs.appendFile("/new/made", "m");
    expect(await fs.readTextFile("/new/deep/x")).toBe("xy");
    expect(await fs.readdir("/new")).toEqual(["deep", "made"]);
    expect(await fs.readdir("/new", { withFileTypes: true })).toEqual([
      { name: "deep", type: "directory", isFile: false, isDirectory: true, isSymbolicLink: false },
      { name: "made", type: "file", isFile: true, isDirectory: false, isSymbolicLink: false },
    ]);
  });

  test("is the tree that guests see, while they run, and what it makes is theirs", async () => {
    const runtime = await make();
    const { fs } = runtime;
    await fs.writeFile("/workspace/in.txt", "hello");
    await fs.mkdir("/workspace/d");
    await fs.mkdir("/workspace/r/s", { recursive: true });
    const running = runtime.exec(`const fs = require("fs");
      fs.appendFileSync("in.txt", " world"); fs.writeFileSync("d/x", "1"); fs.writeFileSync("r/s/x", "1"); fs.writeFileSync("ready", "");
      const t = setInterval(() => { if (fs.existsSync("go")) { clearInterval(t); process.exit(5); } }, 2);`);
    while (!(await fs.exists("/workspace/ready"))) await new Promise((resolve) => setTimeout(resolve, 2));
    expect(await fs.readTextFile("/workspace/in.txt")).toBe("hello world");
    await fs.writeFile("/workspace/go", "");
    expect((await running).code).toBe(5);
    expect(await fs.stat("/workspace/d/x")).toMatchObject({ isFile: true, size: 1, uid: 1000, gid: 1000, type: "file" });
    expect(await fs.stat("/workspace/d")).toMatchObject({ isDirectory: true, uid: 1000 });
  });

  test("links, names, modes and times", async () => {
    const { fs } = await make({ files: { "/w/a": "abc" } });
    await fs.symlink("a", "/w/l");
    expect(await fs.readlink("/w/l")).toBe("a");
    expect(await fs.lstat("/w/l")).toMatchObject({ isSymbolicLink: true, type: "symlink" });
    expect(await fs.realpath("/w/../w/l")).toBe("/w/a");
    await fs.link("/w/a", "/w/hard");
    expect((await fs.stat("/w/a")).nlink).toBe(2);
    await fs.chmod("/w/a", 0o600);
    await fs.chown("/w/a", 7, 8);
    await fs.utimes("/w/a", 10, new Date(20_000));
    expect(await fs.stat("/w/hard")).toMatchObject({ mode: 0o100600, uid: 7, gid: 8, atimeMs: 10_000, mtimeMs: 20_000 });
    await fs.truncate("/w/a", 1);
    await fs.copyFile("/w/a", "/w/copy");
    await fs.rename("/w/copy", "/w/moved");
    expect(await fs.readTextFile("/w/moved")).toBe("a");
    await fs.rm("/w/moved");
    await fs.rm("/w/moved", { force: true });
    await fs.rm("/w", { recursive: true });
    expect(await fs.exists("/w")).toBe(false);
  });

  test("fails as Node does", async () => {
    const { fs } = await make({ files: { "/w/a": "" } });
    await expect(fs.readFile("/none")).rejects.toMatchObject({
      message: "ENOENT: no such file or directory, open '/none'",
      code: "ENOENT",
      errno: -2,
      syscall: "open",
      path: "/none",
    });
    await expect(fs.rename("/none", "/x")).rejects.toMatchObject({
      message: "ENOENT: no such file or directory, rename '/none' -> '/x'",
      dest: "/x",
    });
    await expect(fs.readdir("/w/a")).rejects.toMatchObject({ code: "ENOTDIR", syscall: "scandir" });
    await expect(fs.mkdir("/w")).rejects.toMatchObject({ code: "EEXIST" });
    await expect(fs.mkdir("/w/a", { recursive: true })).rejects.toMatchObject({ code: "EEXIST" });
    await expect(fs.rm("/w")).rejects.toMatchObject({ code: "ENOTEMPTY" });
    await expect(fs.readFile("relative")).rejects.toMatchObject({ code: "ERR_INVALID_ARG_VALUE" });
    await expect(fs.readFile("/a\0b")).rejects.toMatchObject({ code: "ERR_INVALID_ARG_VALUE" });
    await expect(fs.readFile(1 as unknown as string)).rejects.toMatchObject({ code: "ERR_INVALID_ARG_TYPE" });
    await expect(fs.chmod("/w/a", 0o10000)).rejects.toBeInstanceOf(RangeError);
    await expect(fs.writeFile("/w/b", 1 as unknown as string)).rejects.toMatchObject({ code: "ERR_INVALID_ARG_TYPE" });
  });

  test("keeps to what may cross, both ways", async () => {
    const { fs } = await make({
      payloadLimits: { jsonPayloadBytes: 2048, base64TransferBytes: 4096 },
      files: { "/t": "x".repeat(3000), "/b": new Uint8Array(5000), "/ok": new Uint8Array(4096) },
    });
    const tooLarge = (option: string, configured: number, used: number) => ({
      name: "SecureExecError",
      code: "ERR_SANDBOX_PAYLOAD_TOO_LARGE",
      option: `payloadLimits.${option}`,
      configured,
      used,
    });
    await expect(fs.readTextFile("/t")).rejects.toMatchObject(tooLarge("jsonPayloadBytes", 2048, 3000));
    await expect(fs.readFile("/b")).rejects.toMatchObject(tooLarge("base64TransferBytes", 4096, 5000));
    await expect(fs.writeFile("/x", "é".repeat(1500))).rejects.toMatchObject(tooLarge("jsonPayloadBytes", 2048, 3000));
    await expect(fs.writeFile("/x", new Uint8Array(4097))).rejects.toMatchObject(tooLarge("base64TransferBytes", 4096, 4097));
    expect(await fs.exists("/x")).toBe(false);
    expect((await fs.readFile("/ok")).length).toBe(4096);
    await fs.mkdir("/many");
    for (let i = 0; i < 40; i++) await fs.writeFile(`/many/${i}`, "");
    await expect(fs.readdir("/many")).rejects.toMatchObject({ code: "ERR_SANDBOX_PAYLOAD_TOO_LARGE" });
  });

  test("is closed with the runtime, and quotas hold for the host", async () => {
    const runtime = await make({ resourceBudgets: { maxFilesystemBytes: 1000 } });
    await expect(runtime.fs.writeFile("/x", "x".repeat(2000))).rejects.toMatchObject({ code: "ENOSPC" });
    await runtime.dispose();
    await expect(runtime.fs.exists("/x")).rejects.toMatchObject({ code: "ERR_RUNTIME_DISPOSED" });
  });
});

/** A file system of files by path in a map; what its users write comes in here. */
class MapFileSystem implements VirtualFileSystem {
  readonly files = new Map<string, Uint8Array | null>([["/", null]]);
  readonly calls: string[] = [];
  #get(path: string): Uint8Array | null {
    const found = this.files.get(path);
    if (found === undefined) throw Object.assign(new Error(`ENOENT: ${path}`), { code: "ENOENT" });
    return found;
  }
  async readFile(path: string): Promise<Uint8Array> {
    this.calls.push(`readFile ${path}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
    return this.#get(path) ?? new Uint8Array();
  }
  async readTextFile(path: string): Promise<string> {
    return Buffer.from(await this.readFile(path)).toString();
  }
  async readDir(path: string): Promise<string[]> {
    this.#get(path);
    const start = path === "/" ? "/" : `${path}/`;
    return [...this.files.keys()].filter((name) => name !== "/" && name.startsWith(start) && !name.slice(start.length).includes("/")).map((name) => name.slice(start.length));
  }
  async readDirWithTypes(path: string): Promise<{ name: string; isDirectory: boolean }[]> {
    return (await this.readDir(path)).map((name) => ({ name, isDirectory: this.files.get(`${path === "/" ? "" : path}/${name}`) === null }));
  }
  async writeFile(path: string, data: string | Uint8Array): Promise<void> {
    this.calls.push(`writeFile ${path}`);
    this.files.set(path, new Uint8Array(Buffer.from(data as Uint8Array)));
  }
  async createDir(path: string): Promise<void> {
    this.files.set(path, null);
  }
  async mkdir(path: string): Promise<void> {
    this.files.set(path, null);
  }
  async exists(path: string): Promise<boolean> {
    return this.files.has(path);
  }
  async stat(path: string): Promise<VirtualStat> {
    const file = this.#get(path);
    const time = 1_000;
    return { mode: file === null ? 0o40755 : 0o100644, size: file?.length ?? 0, isDirectory: file === null, atimeMs: time, mtimeMs: time, ctimeMs: time, birthtimeMs: time };
  }
  async removeFile(path: string): Promise<void> {
    this.#get(path);
    this.files.delete(path);
  }
  async removeDir(path: string): Promise<void> {
    if ((await this.readDir(path)).length > 0) throw new Error("ENOTEMPTY: directory not empty");
    this.files.delete(path);
  }
  async rename(from: string, to: string): Promise<void> {
    this.files.set(to, this.#get(from));
    this.files.delete(from);
  }
  async symlink(): Promise<void> {
    throw new Error("ENOSYS: no links");
  }
  async readlink(): Promise<string> {
    throw new Error("EINVAL: no link");
  }
  lstat(path: string): Promise<VirtualStat> {
    return this.stat(path);
  }
  async link(): Promise<void> {
    throw new Error("ENOSYS: no links");
  }
  async chmod(): Promise<void> {}
  async chown(): Promise<void> {}
  async utimes(): Promise<void> {}
  async truncate(path: string, length: number): Promise<void> {
    this.files.set(path, (this.#get(path) ?? new Uint8Array()).slice(0, length));
  }
}

const PROGRAM = `import fs from "node:fs";
  const codeOf = (f) => { try { f(); return "ok"; } catch (e) { return e.code; } };`;

async function value(options: NodeRuntimeCreateOptions, code: string, path = "/workspace/main.mjs"): Promise<unknown> {
  const runtime = await make(options);
  const result = await runtime.run<{ default: unknown }>(`${PROGRAM}\nexport default ${code};`, path);
  if (result.exports === undefined) throw new Error(`${result.errorMessage}\n${result.stderr}`);
  return result.exports.default;
}

describe("a file system of the host's", () => {
  test("is used synchronously through node:fs", async () => {
    const source = new MapFileSystem();
    source.files.set("/dir", null).set("/dir/a.txt", Buffer.from("from the host")).set("/mod.cjs", Buffer.from("module.exports = 42"));
    const result = await value(
      { mounts: [{ path: "/mnt/host", source }] },
      `(await (async () => {
        const text = fs.readFileSync("/mnt/host/dir/a.txt", "utf8");
        fs.writeFileSync("/mnt/host/new.bin", new Uint8Array([0, 1, 255]));
        fs.appendFileSync("/mnt/host/new.bin", "x");
        fs.mkdirSync("/mnt/host/made/deep", { recursive: true });
        fs.renameSync("/mnt/host/dir/a.txt", "/mnt/host/made/b.txt");
        const fd = fs.openSync("/mnt/host/made/b.txt", "r+"); fs.writeSync(fd, "FROM", 0); const part = Buffer.alloc(8); fs.readSync(fd, part, 0, 8, 2); fs.closeSync(fd);
        process.chdir("/mnt/host/made");
        return [text, fs.readdirSync("/mnt/host"), (await import("/mnt/host/mod.cjs")).default, part.toString(), fs.statSync("b.txt").size,
          await fs.promises.readFile("b.txt", "utf8"), codeOf(() => fs.readFileSync("/mnt/host/none")), codeOf(() => fs.rmdirSync("/mnt/host/made")),
          codeOf(() => fs.symlinkSync("a", "/mnt/host/l")), fs.readdirSync("/mnt/host/made", { withFileTypes: true }).map((e) => [e.name, e.isDirectory()])];
      })())`,
    );
    expect(result).toEqual([
      "from the host",
      ["dir", "made", "mod.cjs", "new.bin"],
      42,
      "OM the h",
      13,
      "FROM the host",
      "ENOENT",
      "ENOTEMPTY",
      "ENOSYS",
      [["b.txt", false], ["deep", true]],
    ]);
    expect(Buffer.from(source.files.get("/new.bin") ?? [])).toEqual(Buffer.from([0, 1, 255, 0x78]));
  });

  test("can be the root: programs start in it, and files go there", async () => {
    const filesystem = new MapFileSystem();
    const result = await value(
      { filesystem, files: { "/workspace/lib.cjs": "exports.x = 1" } },
      `[(await import("./lib.cjs")).default.x, fs.readdirSync("/"), fs.existsSync("/dev/null"), (fs.writeFileSync("out", "o"), 0)]`,
    );
    expect(result).toEqual([1, expect.arrayContaining(["dev", "proc", "workspace"]), true, 0]);
    expect(Buffer.from(filesystem.files.get("/workspace/out") ?? []).toString()).toBe("o");
  });

  test("is live: mounted, changed and taken away under a running guest", async () => {
    const runtime = await make();
    const source = new MapFileSystem();
    const running = runtime.exec(`const fs = require("fs"); const seen = [];
      const t = setInterval(() => {
        let text; try { text = fs.readFileSync("/live/x", "utf8"); } catch { text = "nothing"; }
        if (seen.at(-1) !== text) { seen.push(text); console.log(text); }
        if (seen.length === 3) clearInterval(t);
      }, 2);`, { onStdio: ({ message }) => void steps.push(steps.at(-1)?.then(() => next(message)) ?? next(message)) });
    const steps: Promise<void>[] = [];
    let messages = 0;
    const next = async (message: string): Promise<void> => {
      messages += 1;
      if (message === "here") return runtime.unmount("/live");
      if (messages > 1) return;
      source.files.set("/x", Buffer.from("here"));
      await runtime.mount({ path: "/live", source });
      expect(runtime.listMounts()).toEqual([{ path: "/live", source }]);
    };
    expect((await running).stdout).toBe("nothing\nhere\nnothing\n");
    await Promise.all(steps);
    expect(runtime.listMounts()).toEqual([]);
    await expect(runtime.unmount("/live")).rejects.toMatchObject({ code: "EINVAL" });
  });

  test("read-only mounts and memory mounts", async () => {
    const source = new MapFileSystem();
    source.files.set("/a", Buffer.from("a"));
    const result = await value(
      { mounts: [{ path: "/ro", source, readOnly: true }, { path: "/scratch", source: "memory" }] },
      `[fs.readFileSync("/ro/a", "utf8"), codeOf(() => fs.writeFileSync("/ro/a", "b")), codeOf(() => fs.unlinkSync("/ro/a")), codeOf(() => fs.writeFileSync("/ro/new", "")),
        codeOf(() => fs.writeFileSync("/scratch/x", "b")), fs.readdirSync("/scratch")]`,
    );
    expect(result).toEqual(["a", "EROFS", "EROFS", "EROFS", "ok", ["x"]]);
    expect(source.calls.filter((call) => call.startsWith("writeFile"))).toEqual([]);
  });

  test("is not asked for what a policy denies", async () => {
    const source = new MapFileSystem();
    source.files.set("/open", Buffer.from("o")).set("/key", Buffer.from("k"));
    const count = { asked: 0 };
    const watched = new Proxy(source, {
      get(target, name) {
        const method = Reflect.get(target, name) as (...args: unknown[]) => unknown;
        if (typeof method !== "function") return method;
        return (path: string, ...rest: unknown[]) => {
          if (path === "/key") count.asked += 1;
          return method.call(target, path, ...rest);
        };
      },
    });
    const rules = [{ mode: "deny" as const, paths: ["/mnt/key"] }];
    const calls = `[codeOf(() => fs.readFileSync("/mnt/key")), codeOf(() => fs.statSync("/mnt/key")), codeOf(() => fs.lstatSync("/mnt/./key")), codeOf(() => fs.writeFileSync("/mnt/../mnt/key", "")),
      fs.existsSync("/mnt/key"), codeOf(() => fs.unlinkSync("/mnt/key")), codeOf(() => fs.realpathSync("/mnt/key")), fs.readFileSync("/mnt/open", "utf8")]`;
    const result = await value({ mounts: [{ path: "/mnt", source: watched }], permissions: { fs: { default: "allow", rules } } }, calls);
    expect(result).toEqual(["EACCES", "EACCES", "EACCES", "EACCES", false, "EACCES", "EACCES", "o"]);
    expect(count.asked).toBe(0);
    const denied = await value({ mounts: [{ path: "/mnt", source }], permissions: { fs: "deny" } }, `codeOf(() => fs.readFileSync("/mnt/open"))`);
    expect(denied).toBe("EACCES");
  });

  test("that throws, lies or hangs is an error of that call", async () => {
    const source = new MapFileSystem();
    for (const name of ["throws", "lies", "null", "huge"]) source.files.set(`/${name}`, Buffer.from("x"));
    const read = source.readFile.bind(source);
    source.readFile = async (path: string) => {
      if (path === "/throws") throw new Error("something");
      if (path === "/lies") return 5 as unknown as Uint8Array;
      if (path === "/huge") return new Uint8Array(5000);
      return path === "/null" ? (null as unknown as Uint8Array) : read(path);
    };
    source.readDirWithTypes = async () => [{ name: "../x", isDirectory: false }, { name: "ok", isDirectory: false }, { name: "", isDirectory: true }];
    const result = await value(
      { mounts: [{ path: "/mnt", source }], payloadLimits: { base64TransferBytes: 4096 } },
      `[...["throws", "lies", "null", "huge"].map((n) => codeOf(() => fs.readFileSync("/mnt/" + n))), fs.readdirSync("/mnt")]`,
    );
    expect(result).toEqual(["EIO", "EIO", "EIO", "EFBIG", ["ok"]]);
  });

  test("a guest that waits for one ends with its limits and its runtime", async () => {
    const source = new MapFileSystem();
    source.files.set("/x", Buffer.from("x"));
    let asked = 0;
    source.readFile = () => ((asked += 1), new Promise(() => {}));
    const runtime = await make({ mounts: [{ path: "/mnt", source }] });
    const code = `require("fs").readFileSync("/mnt/x")`;
    expect(await runtime.exec(code, { wallTimeLimitMs: 200 })).toMatchObject({ reason: "wall" });
    const running = runtime.exec(code);
    while (asked < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    await runtime.dispose();
    expect(await running).toMatchObject({ reason: "disposed" });
  });

  test("the host's own calls reach it, and hang no one", async () => {
    const child = await inChild(`
      const none = async () => { throw Object.assign(new Error("none"), { code: "ENOENT" }); };
      const dir = { mode: 0o40755, size: 0, isDirectory: true, atimeMs: 0, mtimeMs: 0, ctimeMs: 0, birthtimeMs: 0 };
      const source = Object.fromEntries(["readFile", "readTextFile", "readDir", "readDirWithTypes", "writeFile", "createDir", "mkdir", "exists", "removeFile", "removeDir", "rename", "symlink", "readlink", "link", "chmod", "chown", "utimes", "truncate"].map((n) => [n, none]));
      source.stat = source.lstat = async (path) => path === "/" ? dir : path === "/hang" ? new Promise(() => {}) : none();
      const runtime = await NodeRuntime.create({ mounts: [{ path: "/mnt", source }] });
      const first = await runtime.fs.readFile("/mnt/x").catch((e) => e.code);
      const pending = runtime.fs.stat("/mnt/hang").catch((e) => e.code);
      await sleep(50);
      await runtime.dispose();
      console.log(JSON.stringify([first, await pending]));`);
    expect(lastLine(child)).toEqual(["ENOENT", "EIO"]);
  });

  test.each([
    [{ mounts: {} }, /mounts must be an array/],
    [{ mounts: [{ path: "x", source: "memory" }] }, /mounts\[0\]\.path must be an absolute path/],
    [{ mounts: [{ path: "/x", source: {} }] }, /mounts\[0\]\.source must have the method readFile/],
    [{ mounts: [{ path: "/x", source: "disk" }] }, /mounts\[0\]\.source must be a VirtualFileSystem/],
    [{ mounts: [{ path: "/x", source: "memory", cats: 1 }] }, /mounts\[0\]\.cats is not known/],
    [{ mounts: [{ path: "/x", source: "host", hostPath: "x", mode: "ro" }] }, /mounts\[0\]\.hostPath must be an absolute path/],
    [{ mounts: [{ path: "/x", source: "host", hostPath: "/tmp" }] }, /mounts\[0\]\.mode must be "ro", "rw" or "cow"/],
    [{ mounts: [{ path: "/x", source: "tar", data: "x" }] }, /mounts\[0\]\.data must be a Uint8Array/],
    [{ snapshot: "x" }, /snapshot must be a Uint8Array/],
    [{ filesystem: { readFile() {} } }, /filesystem must have the method readTextFile/],
  ])("%j is refused", async (options, message) => {
    const error = await NodeRuntime.create(options as object).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(TypeError);
    expect((error as Error).message).toMatch(message);
  });
});
