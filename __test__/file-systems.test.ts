/** The file systems that this package has for the host, each against the same contract. */

import { mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { HostNodeFileSystem, NodeFileSystem, createInMemoryFileSystem } from "secure-exec";
import type { VirtualFileSystem, WatchEvent } from "secure-exec";
import { make } from "./support.js";

const temporary = mkdtempSync(join(tmpdir(), "secure-exec-"));
afterAll(() => rmSync(temporary, { recursive: true }));
let next = 0;
const newDirectory = (): string => mkdtempSync(join(temporary, `${next++}-`));

const code = (action: Promise<unknown>): Promise<string> =>
  action.then(
    () => "ok",
    (error: { code?: string }) => error.code ?? String(error),
  );

const KINDS: [name: string, create: () => [fs: VirtualFileSystem, base: string]][] = [
  ["createInMemoryFileSystem()", () => [createInMemoryFileSystem(), ""]],
  ["HostNodeFileSystem", () => [new HostNodeFileSystem({ root: newDirectory() }), ""]],
  ["NodeFileSystem", () => [new NodeFileSystem(), newDirectory()]],
];

describe.each(KINDS)("%s", (_name, create) => {
  test("does what a VirtualFileSystem does", async () => {
    const [fs, base] = create();
    const at = (path: string): string => base + path;
    await fs.writeFile(at("/a/b/text"), "héllo");
    await fs.writeFile(at("/bytes"), Uint8Array.of(0, 255, 128));
    expect(await fs.readTextFile(at("/a/b/text"))).toBe("héllo");
    expect([...(await fs.readFile(at("/bytes")))]).toEqual([0, 255, 128]);
    await fs.mkdir(at("/m/n"), { recursive: true });
    await fs.mkdir(at("/m/n"));
    await fs.createDir(at("/made"));
    expect((await fs.readDir(base || "/")).sort()).toEqual(["a", "bytes", "m", "made"]);
    const entries = await fs.readDirWithTypes(base || "/");
    expect(Object.fromEntries(entries.map(({ name, isDirectory }) => [name, isDirectory]))).toEqual({ a: true, bytes: false, m: true, made: true });
    expect(await fs.exists(at("/a"))).toBe(true);
    expect(await fs.exists(at("/none"))).toBe(false);
    const stat = await fs.stat(at("/a/b/text"));
    expect(stat).toMatchObject({ size: 6, isDirectory: false });
    expect(stat.mode & 0o170000).toBe(0o100000);
    await fs.symlink("a/b", at("/link"));
    expect(await fs.readlink(at("/link"))).toBe("a/b");
    expect((await fs.lstat(at("/link"))).isSymbolicLink).toBe(true);
    expect(await fs.readTextFile(at("/link/text"))).toBe("héllo");
    expect(await fs.realpath?.(at("/link/text"))).toBe(at("/a/b/text"));
    await fs.link(at("/bytes"), at("/second"));
    await fs.chmod(at("/second"), 0o600);
    expect((await fs.stat(at("/bytes"))).mode & 0o777).toBe(0o600);
    await fs.utimes(at("/bytes"), 1_000_000, 1_234_567);
    expect((await fs.stat(at("/second"))).mtimeMs).toBe(1_234_567_000);
    await fs.truncate(at("/bytes"), 1);
    await fs.pwrite?.(at("/bytes"), 3, Buffer.from("end"));
    expect(Buffer.from((await fs.pread?.(at("/bytes"), 2, 100)) ?? [])).toEqual(Buffer.from("\0end"));
    await fs.rename(at("/a"), at("/m/moved"));
    await fs.removeFile(at("/second"));
    await fs.removeDir(at("/made"));
    expect((await fs.readDir(base || "/")).sort()).toEqual(["bytes", "link", "m"]);
  });

  test("has Node's error codes", async () => {
    const [fs, base] = create();
    const at = (path: string): string => base + path;
    await fs.writeFile(at("/file"), "");
    await fs.writeFile(at("/dir/in"), "");
    expect(await code(fs.readFile(at("/none")))).toBe("ENOENT");
    expect(await code(fs.readFile(at("/dir")))).toBe("EISDIR");
    expect(await code(fs.readDir(at("/file")))).toBe("ENOTDIR");
    expect(await code(fs.createDir(at("/dir")))).toBe("EEXIST");
    expect(await code(fs.createDir(at("/no/parent")))).toBe("ENOENT");
    expect(await code(fs.removeDir(at("/dir")))).toBe("ENOTEMPTY");
    expect(["EISDIR", "EPERM"]).toContain(await code(fs.removeFile(at("/dir"))));
    expect(await code(fs.removeDir(at("/file")))).toBe("ENOTDIR");
    expect(await code(fs.stat(at("/file/x")))).toBe("ENOTDIR");
    expect(await code(fs.readlink(at("/file")))).toBe("EINVAL");
    await fs.symlink("loop", at("/loop"));
    expect(await code(fs.stat(at("/loop")))).toBe("ELOOP");
  });

  test("is what guests use, watched too, as a mount", async () => {
    const [source, base] = create();
    await source.mkdir(`${base}/shared`);
    const mount = `/mnt${base}/shared`;
    const runtime = await make({ mounts: [{ path: "/mnt", source }] });
    const events: WatchEvent[] = [];
    let heard = (): void => {};
    const hears = new Promise<void>((resolve) => (heard = resolve));
    const watch = await runtime.fs.watch(mount, (event) => {
      events.push(event);
      heard();
    });
    const running = runtime.exec(`const fs = require("fs");
      const watcher = fs.watch(${JSON.stringify(mount)}, (type, name) => { if (name === "from-host") { console.log(type, fs.readFileSync(${JSON.stringify(`${mount}/from-host`)}, "utf8")); watcher.close(); } });
      fs.writeFileSync(${JSON.stringify(`${mount}/from-guest`)}, "g"); console.log("ready");`, {
      onStdio: ({ message }) => {
        if (message === "ready") void source.writeFile(`${base}/shared/tmp`, "hi").then(() => source.rename(`${base}/shared/tmp`, `${base}/shared/from-host`));
      },
    });
    expect((await running).stdout).toBe("ready\nrename hi\n");
    await hears;
    expect(events[0]).toMatchObject({ eventType: "rename", filename: "from-guest" });
    await watch.close();
    await watch.close();
    expect(await source.readTextFile(`${base}/shared/from-guest`)).toBe("g");
  });
});

test("nothing leads out of HostNodeFileSystem's root", async () => {
  const [root, outside] = [newDirectory(), newDirectory()];
  writeFileSync(join(outside, "secret"), "secret");
  symlinkSync(join(outside, "secret"), join(root, "absolute"));
  symlinkSync(`../${outside.split("/").at(-1)}/secret`, join(root, "relative"));
  symlinkSync(outside, join(root, "directory"));
  symlinkSync("/etc/hostname", join(root, "host"));
  const fs = new HostNodeFileSystem({ root });
  for (const path of ["/absolute", "/relative", "/directory/secret", `/../${outside}/secret`, `/directory/../${outside}/secret`, outside]) {
    expect([path, await code(fs.readFile(path))]).toEqual([path, "ENOENT"]);
  }
  expect(await fs.readTextFile("/host").catch(() => "")).not.toBe(readFileSync("/etc/hostname", "utf8"));
  await code(fs.writeFile("/absolute", "changed"));
  await code(fs.writeFile("/directory/new", "x"));
  await code(fs.truncate("/relative", 0));
  await code(fs.chmod("/absolute", 0o777));
  await code(fs.removeFile("/directory/secret"));
  await code(fs.symlink(join(outside, "secret"), "/planted"));
  await code(fs.link("/absolute", "/linked"));
  expect(readFileSync(join(outside, "secret"), "utf8")).toBe("secret");
  expect(statSync(join(outside, "secret")).mode & 0o777).not.toBe(0o777);
  expect(statSync(join(outside, "new"), { throwIfNoEntry: false })).toBe(undefined);
  expect(await code(fs.readFile("/planted"))).toBe("ENOENT");
});

test("a file system in memory is bounded, and one for many", async () => {
  const fs = createInMemoryFileSystem({ maxBytes: 1000 });
  expect(await code(fs.writeFile("/big", "x".repeat(2000)))).toBe("ENOSPC");
  await fs.removeFile("/big");
  await expect(fs.rename("/none", "/new")).rejects.toMatchObject({
    message: "ENOENT: no such file or directory, rename '/none' -> '/new'",
    path: "/none",
    dest: "/new",
  });
  await fs.writeFile("/small", "from one");
  const [one, other] = await Promise.all([make({ mounts: [{ path: "/m", source: fs }] }), make({ mounts: [{ path: "/m", source: fs }] })]);
  await one.fs.appendFile("/m/small", " to all");
  expect((await other.exec(`console.log(require("fs").readFileSync("/m/small", "utf8"))`)).stdout).toBe("from one to all\n");
  expect(() => createInMemoryFileSystem({ maxBytes: 0 })).toThrow(RangeError);
  expect(() => new HostNodeFileSystem({} as never)).toThrow(/root must be a string/);
  const missing = new HostNodeFileSystem({ root: join(temporary, "none") });
  expect(await code(missing.readFile("/x"))).toBe("ENOENT");
});
