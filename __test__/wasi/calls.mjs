// Every call of WASI, as a program would make it: what it prints in a guest is what it prints in Node 22. Where Node does
// otherwise is in wasi.test.ts.
import { WASI } from "node:wasi";
import fs from "node:fs";
const base = process.env.BASE;
fs.rmSync(base, { recursive: true, force: true });
const root = `${base}/root`, outside = `${base}/outside`;
fs.mkdirSync(`${root}/dir/deep`, { recursive: true });
fs.mkdirSync(outside);
fs.writeFileSync(`${outside}/secret`, "secret");
fs.writeFileSync(`${root}/file`, "hello world");
fs.writeFileSync(`${root}/dir/inner`, "inner");
fs.symlinkSync("file", `${root}/tofile`);
fs.symlinkSync("dir", `${root}/todir`);
fs.symlinkSync("../outside/secret", `${root}/tosecret`);
fs.symlinkSync("../outside", `${root}/tooutside`);
fs.symlinkSync("/sandbox/file", `${root}/absinside`);
fs.symlinkSync(`${root}/file`, `${root}/absreal`);
fs.symlinkSync("loop2", `${root}/loop1`);
fs.symlinkSync("loop1", `${root}/loop2`);
fs.symlinkSync("missing", `${root}/dangling`);
fs.symlinkSync("../file", `${root}/dir/up`);
const wasi = new WASI({ version: "preview1", args: ["prog", "-x", "é"], env: { A: "1", B: "zwei" }, preopens: { "/sandbox": root, "rel": `${root}/dir` } });
const memory = new WebAssembly.Memory({ initial: 2 });
const w = wasi.wasiImport;
const out = (name, value) => console.log(name, typeof value === "object" ? JSON.stringify(value, (k, v) => typeof v === "bigint" ? `${v}n` : v) : String(value));
const told = (f) => { try { return f(); } catch (e) { return `${e.name} ${e.code}: ${e.message}`; } };
out("keys", Object.keys(w).sort().join());
let all = []; for (const k in w) all.push(k); out("in", all.sort().join());
out("proto", Object.getOwnPropertyNames(Object.getPrototypeOf(w)).sort().join());
out("names", all.map((k) => w[k].name).join());
out("before", told(() => w.fd_close(99)));
out("before count", told(() => w.fd_close()));
wasi.initialize({ exports: { memory } });
let view = () => new DataView(memory.buffer);
let bytes = () => new Uint8Array(memory.buffer);
const u32 = (p) => view().getUint32(p, true), u64 = (p) => view().getBigUint64(p, true);
const put = (p, text) => { const b = new TextEncoder().encode(text); bytes().set(b, p); return b.length; };
const hex = (p, n) => Buffer.from(memory.buffer, p, n).toString("hex");
const MEM = 131072;
// args, env
out("args_sizes", [w.args_sizes_get(0, 4), u32(0), u32(4)]);
out("args_get", [w.args_get(100, 200), u32(100), u32(104), u32(108), hex(200, 12)]);
out("env_sizes", [w.environ_sizes_get(0, 4), u32(0), u32(4)]);
out("env_get", [w.environ_get(100, 200), u32(100), u32(104), hex(200, 12)]);
for (const p of [MEM - 4, MEM - 3, MEM, 2 ** 32 - 1]) out(`oob args_sizes ${p}`, told(() => w.args_sizes_get(p, 0)));
out("oob args", [w.args_get(MEM - 11, 0), w.args_get(0, MEM - 11), w.args_get(MEM - 12, 0)]);
for (const bad of [1.5, "1", 2 ** 32, null, {}, 1n, NaN]) out(`bad ${String(bad)}`, told(() => w.args_sizes_get(bad, 0)));
out("count", [w.args_sizes_get(0), w.args_sizes_get(0, 0, 0), w.sched_yield(), w.sched_yield(1)]);
out("bigint", [w.fd_seek(3, 0, 0, 0), w.fd_advise(3, 0n, 0, 0)]);
// clocks
out("res", [0, 1, 2, 3, 4].map((id) => w.clock_res_get(id, 0) || (id === 3 ? "ok" : u64(0))));
out("time", [0, 1, 2, 3, 4].map((id) => w.clock_time_get(id, 0n, 0)));
w.clock_time_get(0, 0n, 0); out("realtime", Math.abs(Number(u64(0) / 1000000n) - Date.now()) < 5000);
w.clock_time_get(1, 0n, 0); out("monotonic", Math.abs(Number(u64(0)) - Number(process.hrtime.bigint())) < 5e9);
out("random", [w.random_get(0, 16), w.random_get(0, 0), w.random_get(MEM, 0), w.random_get(MEM - 1, 2), w.random_get(MEM - 1, 1)]);
// stats of descriptors
const fdstat = (fd) => [w.fd_fdstat_get(fd, 0), bytes()[0], u64(8).toString(16), u64(16).toString(16)];
for (const fd of [3, 4, 5, 99, 2 ** 32 - 1]) out(`fdstat ${fd}`, fdstat(fd));
const prestat = (fd) => [w.fd_prestat_get(fd, 0), bytes()[0], u32(4)];
for (const fd of [0, 3, 4, 5]) { bytes().fill(0, 0, 300); out(`prestat ${fd}`, prestat(fd)); out(`prestat name ${fd}`, [w.fd_prestat_dir_name(fd, 100, 8), w.fd_prestat_dir_name(fd, 100, 7), w.fd_prestat_dir_name(fd, 100, 4), w.fd_prestat_dir_name(fd, 100, 3),  w.fd_prestat_dir_name(fd, 100, 9), hex(100, 10)]); }
const RIGHTS = 0x1fffffffn;
const open = (dir, p, { look = 0, o = 0, base = 0x2000000n - 1n, inherit = 0n, flags = 0 } = {}) => {
  const n = put(1000, p);
  const e = w.path_open(dir, look, 1000, n, o, base, inherit, flags, 0);
  return e === 0 ? { fd: u32(0) } : e;
};
const R = 2n | 4n | 0x20n | 0x200000n;
out("open read", open(3, "file", { base: R }));
out("fdstat 5", fdstat(5));
const iov = (p, list) => { list.forEach(([b, n], i) => { view().setUint32(p + 8 * i, b, true); view().setUint32(p + 8 * i + 4, n, true); }); return list.length; };
out("read", [w.fd_read(5, 2000, iov(2000, [[3000, 5], [3100, 100]]), 0), u32(0), hex(3000, 5), hex(3100, 6)]);
out("read eof", [w.fd_read(5, 2000, 2, 0), u32(0)]);
out("pread", [w.fd_pread(5, 2000, 1, 6n, 0), u32(0), hex(3000, 5)]);
out("pread neg", [w.fd_pread(5, 2000, 1, 2n ** 64n - 1n, 0), w.fd_pread(5, 2000, 1, 2n ** 63n, 0), w.fd_pread(5, 2000, 1, 2n**40n, 0)]);
out("tell", [w.fd_tell(5, 0), u64(0)]);
out("seek", [w.fd_seek(5, -3n, 2, 0), u64(0), w.fd_seek(5, -100n, 1, 0), w.fd_seek(5, 0n, 3, 0), w.fd_seek(5, 2n, 0, 0), u64(0), w.fd_seek(5, 2n**63n-1n, 1, 0), w.fd_seek(5, 0n, 259, 0), w.fd_seek(5, 0n, 256, 0)]);
out("write ro", [w.fd_write(5, 2000, 1, 0), w.fd_pwrite(5, 2000, 1, 0n, 0), w.fd_filestat_set_size(5, 1n), w.fd_allocate(5, 0n, 10n), w.fd_datasync(5), w.fd_sync(5), w.fd_advise(5, 0n, 0n, 0), w.fd_filestat_set_times(5, 0n, 0n, 0), w.fd_readdir(5, 0, 100, 0n, 200)]);
out("iov zero", [w.fd_read(5, 2000, 0, 0), w.fd_read(5, MEM - 8, 2, 0), w.fd_read(5, 2000, 20000, 0)]);
iov(2000, [[MEM - 1, 2]]); out("iov oob", [w.fd_read(5, 2000, 1, 0)]);
iov(2000, [[2 ** 32 - 1, 2 ** 32 - 1]]); out("iov oob", [w.fd_read(5, 2000, 1, 0)]);
iov(2000, [[MEM, 0]]); out("iov empty end", [w.fd_read(5, 2000, 1, 0)]);
w.fd_seek(5, 0n, 0, 0);
iov(2000, [[0, 0]]); out("iov empty", [w.fd_read(5, 2000, 1, 0), u32(0)]);
iov(2000, Array.from({ length: 1100 }, () => [3000, 1])); out("iov many", [w.fd_read(5, 2000, 1025, 0), u32(0), w.fd_read(5, 2000, 1024, 0), u32(0)]);
const filestat = (e) => e || [u64(16) & 255n, u64(24), u64(32), u64(0) !== 0n, u64(8) !== 0n, u64(40) !== 0n].map(String).join();
out("filestat", filestat(w.fd_filestat_get(5, 0)));
out("filestat dir", w.fd_filestat_get(3, 0) || bytes()[16]);
out("close", [w.fd_close(5), w.fd_close(5), w.fd_close(99)]);
const stat = (p, look = 0, dir = 3) => { const n = put(1000, p); const e = w.path_filestat_get(dir, look, 1000, n, 0); return e || bytes()[16]; };
for (const p of ["file", "dir", "tofile", "todir", "tosecret", "tooutside", "todir/inner", "absinside", "absreal", "loop1", "dangling", "missing", "file/x", "dir/up", "todir/up", "..", "../outside", "../root/file", "dir/../file", "dir/../../root/file", "missing/../file", "todir/../file", "/sandbox/file", "/sandbox", "/sandboxx", "/etc/passwd", "/", "", ".", "./file", "file/", "dir/", "//sandbox/file", "dir//inner", "a\0b", "x".repeat(300), "loop1/x", "dangling/x", "rel"])
  out(`stat ${p.slice(0, 30)}`, [told(() => stat(p)), told(() => stat(p, 1))]);
for (const p of ["inner", "../file", "rel/inner", "/rel/inner", "/sandbox/file"]) out(`rel ${p}`, [stat(p, 0, 4), stat(p, 1, 4)]);
out("stat fd", [stat("x", 0, 99)]);
// opening
for (const [name, p, how] of [["missing", "nope", { base: R }], ["create", "new", { base: R | 0x40n, o: 1 }], ["create again excl", "new", { base: R | 0x40n, o: 5 }], ["dir as dir", "dir", { o: 2, base: 0x4000n }], ["file as dir", "file", { o: 2, base: R }], ["dir plain", "dir", { base: R }], ["dir write", "dir", { base: R | 0x40n }], ["link follow", "tofile", { base: R, look: 1 }], ["out follow", "tosecret", { base: R, look: 1 }], ["trunc", "new", { base: R | 0x40n, o: 8 }], ["append", "new", { base: R | 0x40n, flags: 1 }], ["all rights", "file", { base: 2n ** 64n - 1n }], ["many rights", "file", { base: 0x1fffffffn }], ["wo", "new", { base: 0x40n }], ["none", "file", { base: 0n }], ["inherit", "file", { base: R, inherit: R }], ["sync", "new", { base: R | 0x40n, flags: 0x1e }], ["creat dir", "newd", { o: 3, base: R }], ["oflags junk", "file", { o: 0xff0, base: R }],["slash","file/",{base:R}], ["create slash", "newslash/", {o:1, base: R|0x40n}], ["dangling create", "dangling", {o:1, base: R|0x40n, look: 1}], ["dangling nofollow create", "dangling2", {o:1, base: R|0x40n}]]) {
  const r = open(3, p, how);
  out(`open ${name}`, r);
  if (r.fd !== undefined) { out("  fdstat", fdstat(r.fd)); w.fd_close(r.fd); }
}
out("open on no fd", open(99, "x"));
{
  const d = open(3, "dir", { o: 2, base: RIGHTS & ~0x1n, inherit: RIGHTS });
  out("subdir", d);
  const d2 = open(3, "dir", { o: 2, base: 0x7fffe00n & 0xffffffn | 0x4000n | 0x2000n, inherit: R });
  out("subdir2", d2);
  if (d2.fd) {
    out("d2", fdstat(d2.fd));
    out("from subdir", [open(d2.fd, "inner", { base: R }), open(d2.fd, "../file", { base: R }), open(d2.fd, "up", { base: R, look: 1 }), open(d2.fd, "up", { base: R })]);
    out("stat sub", [stat("inner", 0, d2.fd), stat("../file", 0, d2.fd), stat(`${root}/dir/inner`, 0, d2.fd), stat("/sandbox/dir/inner", 0, d2.fd), stat("up",1,d2.fd)]);
    out("prestat sub", prestat(d2.fd));
  }
}
// writing
const f = open(3, "new", { base: R | 0x40n | 0x100n | 0x400000n | 0x800000n | 1n | 8n, o: 1 }).fd;
out("w fdstat", fdstat(f));
put(3000, "abcdef");
out("write", [w.fd_write(f, 2000, iov(2000, [[3000, 3], [3003, 3]]), 0), u32(0), fs.readFileSync(`${root}/new`, "latin1")]);
out("pwrite", [w.fd_pwrite(f, 2000, 1, 10n, 0), u32(0), JSON.stringify(fs.readFileSync(`${root}/new`, "latin1"))]);
out("write none", [w.fd_write(f, 2000, 0, 0), w.fd_pwrite(f, 2000, 1, 2n ** 63n, 0), w.fd_pwrite(f, 2000, 1, 2n**64n-1n, 0)]);
out("set size", [w.fd_filestat_set_size(f, 4n), fs.statSync(`${root}/new`).size, w.fd_filestat_set_size(f, 2n ** 63n)]);
out("allocate", [w.fd_allocate(f, 0n, 100n), fs.statSync(`${root}/new`).size, w.fd_allocate(f, 0n, 0n), w.fd_allocate(f, 2n ** 63n, 1n), w.fd_allocate(f, 0n, 10n)]);
out("times", [w.fd_filestat_set_times(f, 5_000_000_000n, 6_000_000_000n, 5), fs.statSync(`${root}/new`).atimeMs, fs.statSync(`${root}/new`).mtimeMs, w.fd_filestat_set_times(f, 1n, 1n, 16), w.fd_filestat_set_times(f, 9_000_000_000n, 1n, 1), fs.statSync(`${root}/new`).atimeMs, fs.statSync(`${root}/new`).mtimeMs, w.fd_filestat_set_times(f, 0n, 0n, 15)]);
out("times path", [(put(1000, "tofile"), w.path_filestat_set_times(3, 1, 1000, 6, 7_000_000_000n, 8_000_000_000n, 5)), fs.statSync(`${root}/file`).mtimeMs, w.path_filestat_set_times(3, 0, 1000, 6, 7_000_000_000n, 9_000_000_000n, 5), fs.statSync(`${root}/file`).mtimeMs, fs.lstatSync(`${root}/tofile`).mtimeMs]);
out("flags", [w.fd_fdstat_set_flags(f, 1), fdstat(f), w.fd_fdstat_set_flags(f, 0), w.fd_fdstat_set_flags(f, 4), fdstat(f), w.fd_fdstat_set_flags(f, 0x1e), fdstat(f), w.fd_fdstat_set_flags(f, 0xffe0), w.fd_fdstat_set_flags(f, 0)]);
out("sync", [w.fd_sync(f), w.fd_datasync(f)]);
out("advise", [0, 1, 2, 3, 4, 5, 6, 255, 256].map((a) => w.fd_advise(f, 0n, 0n, a)));
out("advise dir", [w.fd_advise(3, 0n, 0n, 0), w.fd_sync(3), w.fd_datasync(3), w.fd_allocate(3, 0n, 1n), w.fd_read(3, 2000, 1, 0), w.fd_write(3, 2000, 1, 0), w.fd_seek(3, 0n, 0, 0), w.fd_tell(3, 0)]);
out("rights", [w.fd_fdstat_set_rights(f, R, 0n), fdstat(f), w.fd_fdstat_set_rights(f, R | 0x40n, 0n), w.fd_write(f, 2000, 1, 0), w.fd_fdstat_set_rights(f, 0n, 1n), w.fd_fdstat_set_rights(3, 0x2000n, 0n) && 0]);
out("open after", [open(3, "file", { base: R }), open(3, "file", { base: 0n })]);
out("renumber", [w.fd_renumber(99, 3), w.fd_renumber(f, 99), w.fd_renumber(f, f), w.fd_renumber(f, 3), w.fd_close(f), fdstat(3)]);
// the rest of the paths on a fresh one
const wasi2 = new WASI({ version: "unstable", preopens: { "/sandbox": root } });
out("unstable", Object.keys(wasi2.getImportObject()));
wasi2.initialize({ exports: { memory } });
const v = wasi2.wasiImport;
const on = (name, p, ...more) => { const n = put(1000, p); return v[name](3, 1000, n, ...more); };
out("mkdir", ["m", "m", "m/n/o", "../x", "tosecret", "", ".", "todir/made", "dangling"].map((p) => on("path_create_directory", p)));
out("unlink", ["m", "missing", "../outside/secret", "file/", "", "."].map((p) => on("path_unlink_file", p)));
out("rmdir", ["m", "missing", "file", "dir", "tooutside", "todir", "..", ".", ""].map((p) => on("path_remove_directory", p)));
const readlink = (p, room = 100) => { const n = put(1000, p); const e = v.path_readlink(3, 1000, n, 2000, room, 0); return e || [u32(0), hex(2000, u32(0))]; };
out("readlink", [readlink("tofile"), readlink("file"), readlink("missing"), readlink("tosecret"), readlink("tofile", 4), readlink("tofile", 5), readlink("tofile", 3), readlink("tofile", 0)]);
const symlink = (to, p) => { const n = put(1000, to), m = put(1500, p); return v.path_symlink(1000, n, 3, 1500, m); };
out("symlink", [symlink("file", "s1"), symlink("/etc/passwd", "s2"), symlink("file", "s1"), symlink("", "s3"), symlink("../../..", "s4"), symlink("x", "../s5"), symlink("a\0b", "s7")]);
const rename = (a, b) => { const n = put(1000, a), m = put(1500, b); return v.path_rename(3, 1000, n, 3, 1500, m); };
out("rename", [rename("s1", "s8"), rename("missing", "y"), rename("s8", "../out"), rename("../outside/secret", "z"), rename("dir", "dir/x"), rename("file", "dir")]);
const link = (a, b, look = 0) => { const n = put(1000, a), m = put(1500, b); return v.path_link(3, look, 1000, n, 3, 1500, m); };
out("link", [link("file", "hard"), link("file", "hard"), link("dir", "hard2"), link("tosecret", "hard3", 1), link("tofile", "hard4", 1), link("tofile", "hard5", 0), link("../outside/secret", "hard6")]);
out("lstat hard5", fs.lstatSync(`${root}/hard5`).isSymbolicLink());
// directories
const listed = (fd, room, cookie = 0n) => { bytes().fill(0, 4000, 4000 + room); const e = v.fd_readdir(fd, 4000, room, cookie, 0); const used = u32(0); if (e) return e; const names = []; let p = 4000; while (p + 24 <= 4000 + used) { const n = u32(p + 16); names.push([Buffer.from(memory.buffer, p + 24, Math.min(n, 4000 + used - p - 24)).toString(), bytes()[p + 20], u64(p + 8) !== 0n, n]); p += 24 + n; } return [used, names]; };
{
  const [used, names] = listed(3, 4096); out("readdir", [used, names.sort()]);
  out("readdir short", [listed(3, 0)[0], listed(3, 10)[0], listed(3, 24)[0], listed(3, 30)[0]]);
  let cookie = 0n, seen = [], rounds = 0;
  while (rounds++ < 100) { bytes().fill(0, 4000, 5000); const e = v.fd_readdir(3, 4000, 64, cookie, 0); if (e) { seen.push(e); break; } const used = u32(0); if (used < 24 + 1) break; const n = u32(4016); if (used < 24 + n) { seen.push("short"); break; } seen.push(Buffer.from(memory.buffer, 4024, n).toString()); cookie = u64(4000); }
  out("readdir cookies", seen.sort());
  out("readdir odd", [listed(3, 4096, 2n ** 64n - 1n), listed(99, 10)].map((x) => Array.isArray(x) ? x[1].length : x));
}
// polling
const sub = (i, user, type, a, timeout = 0n, flags = 0) => { const p = 6000 + 48 * i; bytes().fill(0, p, p + 48); view().setBigUint64(p, user, true); bytes()[p + 8] = type; view().setUint32(p + 16, a, true); view().setBigUint64(p + 24, timeout, true); view().setUint16(p + 40, flags, true); };
const events = (n) => Array.from({ length: n }, (_, i) => { const p = 8000 + 32 * i; return [u64(p), view().getUint16(p + 8, true), bytes()[p + 10], u64(p + 16), view().getUint16(p + 24, true)]; });
out("poll 0", v.poll_oneoff(6000, 8000, 0, 0));
sub(0, 7n, 0, 1, 3_000_000n); sub(1, 8n, 0, 0, 1_000_000n);
out("poll clocks", [v.poll_oneoff(6000, 8000, 2, 0), u32(0), events(2)]);
sub(0, 7n, 3, 1); out("poll type", v.poll_oneoff(6000, 8000, 1, 0));
sub(0, 7n, 1, 3); out("poll dir", [v.poll_oneoff(6000, 8000, 1, 0)]);
sub(0, 7n, 0, 9, 1_000_000n); out("poll clock id", [v.poll_oneoff(6000, 8000, 1, 0)]);
out("poll oob", [v.poll_oneoff(MEM - 47, 8000, 1, 0), v.poll_oneoff(6000, MEM - 31, 1, 0), v.poll_oneoff(6000, 8000, 1, MEM - 3)]);
// sockets, signals
out("sock", [v.sock_recv(0, 2000, 0, 0, 0, 4), v.sock_recv(3, 2000, 0, 0, 0, 4), v.sock_recv(99, 2000, 0, 0, 0, 4), v.sock_send(3, 2000, 0, 0, 0), v.sock_send(99, 2000, 0, 0, 0), v.sock_shutdown(3, 1), v.sock_shutdown(0, 1), v.sock_shutdown(99, 1), v.sock_accept(3, 0, 0), v.sock_accept(99, 0, 0), v.sock_shutdown(3, 9), v.sock_accept(3, 7, 0)]);
out("raise", [v.proc_raise(0), v.proc_raise(255), v.proc_raise(26), v.proc_raise(27), v.proc_raise(28), v.proc_raise(31), v.proc_raise(256)]);
process.on("SIGUSR2", () => out("got", "SIGUSR2")); out("raise", v.proc_raise(12));
await new Promise((r) => setTimeout(r, 50));
for (const options of [{ preopens: { "/x": `${base}/missing` } }, { preopens: { "/x": `${root}/file` } }, { preopens: { "/x": `${root}/loop1` } }, { stdin: 77 }, {preopens: {"": root}}, {preopens: {"a": ""}}])
  out(`new ${JSON.stringify(options).replace(base, "")}`, told(() => { const x = new WASI({ version: "preview1", ...options }); x.initialize({ exports: { memory } }); x.wasiImport.fd_prestat_get(3, 0); return u32(4); }));
try { new WASI({ version: "preview1", preopens: { "/x": `${base}/missing` } }); } catch (e) { out("error", [Object.keys(e), e.errno, e.code, e.syscall, e.message]); }
out("memory", [told(() => { const x = new WASI({ version: "preview1" }); x.initialize({ exports: {} }); }), told(() => { const x = new WASI({ version: "preview1" }); x.initialize({ exports: { memory: {} } }); }), told(() => { const x = new WASI({ version: "preview1" }); x.start({ exports: { memory } }); })]);
for (const preopen of ["a/../b", "./x", "/a/./b/", "..", "../x", "x/..", "/"]) { const x = new WASI({ version: "preview1", preopens: { [preopen]: root } }); x.initialize({ exports: { memory } }); const wi = x.wasiImport; wi.fd_prestat_get(3, 0); const len = u32(4); wi.fd_prestat_dir_name(3, 100, len); const st = (p) => { const n = put(1000, p); return wi.path_filestat_get(3, 0, 1000, n, 0); }; out(`preopen ${preopen}`, [len, hex(100, len), st("file"), st("../file"), st(`${preopen}/file`), st("/file"), st("/etc"), st("/"), st("x/../file"), st("..")]); }
{
  const x = new WASI({ version: "preview1", stdin: fs.openSync(`${root}/file`, "r"), preopens: {} }); x.initialize({ exports: { memory } });
  const wi = x.wasiImport; out("stdin file", [wi.fd_read(0, 2000, iov(2000, [[3000, 5]]), 0), u32(0), hex(3000, 5), (wi.fd_fdstat_get(0, 0), [bytes()[0], u64(8).toString(16), u64(16).toString(16)])]);
}
{
  const shared = new WASI({ version: "preview1" }); 
  const m = new WebAssembly.Memory({ initial: 1, maximum: 2, shared: true });
  out("shared", told(() => { shared.initialize({ exports: { memory: m } }); return [shared.wasiImport.args_sizes_get(0, 4), new DataView(m.buffer).getUint32(4, true)]; }));
}
{ const x = new WASI({ version: "preview1" }); const m = new WebAssembly.Memory({ initial: 1, maximum: 3 }); x.initialize({ exports: { memory: m } }); const a = x.wasiImport.args_sizes_get(65536, 0); m.grow(1); out("grown", [a, x.wasiImport.args_sizes_get(65536, 0)]); }
