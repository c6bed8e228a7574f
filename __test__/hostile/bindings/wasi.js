// Every call of WASI with pointers, lengths and counts at the edges of memory and far behind them, on descriptors that come
// and go, while memory grows, or another thread writes it; and the class itself with everything but what it takes.
// @outcome ok
// @options {"timingMitigation": "off", "cpuTimeLimitMs": 30000, "memoryLimit": 128, "wallTimeLimitMs": 60000}
// @within 60000
// @each
// @each shared
// @each wide
// @each class
const { WASI } = require('wasi'), fs = require('fs');
process.removeAllListeners('warning');
const mode = 'EACH';
const PAGE = 65536;
fs.mkdirSync('/tmp/w/d', { recursive: true });
fs.writeFileSync('/tmp/w/f', 'x'.repeat(1000));
fs.symlinkSync('l', '/tmp/w/l');
fs.symlinkSync('../..', '/tmp/w/d/up');
fs.symlinkSync('d/'.repeat(1500), '/tmp/w/deep');
const memory = new WebAssembly.Memory(mode === 'wide' ? { initial: 800, maximum: 1000 } : { initial: 1, maximum: 40, shared: mode === 'shared' });
const own = () => fs.openSync('/tmp/w/f', 'r+');
const make = () => { const wasi = new WASI({ version: 'preview1', args: ['a', 'b'], env: { C: 'd' }, preopens: { '/': '/tmp/w', 'r': '/tmp/w/d' }, stdin: own(), stdout: own(), stderr: own() }); wasi.initialize({ exports: { memory } }); return wasi.wasiImport };
let w = make();
const counts = { args_get: 'pp', args_sizes_get: 'pp', clock_res_get: 'np', clock_time_get: 'nbp', environ_get: 'pp', environ_sizes_get: 'pp', fd_advise: 'fbbn', fd_allocate: 'fbb', fd_close: 'f', fd_datasync: 'f', fd_fdstat_get: 'fp', fd_fdstat_set_flags: 'fn', fd_fdstat_set_rights: 'fbb', fd_filestat_get: 'fp', fd_filestat_set_size: 'fb', fd_filestat_set_times: 'fbbn', fd_pread: 'fpnbp', fd_prestat_get: 'fp', fd_prestat_dir_name: 'fpn', fd_pwrite: 'fpnbp', fd_read: 'fpnp', fd_readdir: 'fpnbp', fd_renumber: 'ff', fd_seek: 'fbnp', fd_sync: 'f', fd_tell: 'fp', fd_write: 'fpnp', path_create_directory: 'fpn', path_filestat_get: 'fnpnp', path_filestat_set_times: 'fnpnbbn', path_link: 'fnpnfpn', path_open: 'fnpnnbbnp', path_readlink: 'fpnpnp', path_remove_directory: 'fpn', path_rename: 'fpnfpn', path_symlink: 'pnfpn', path_unlink_file: 'fpn', poll_oneoff: 'ppnp', random_get: 'pn', sched_yield: '', sock_accept: 'fnp', sock_recv: 'fpnnpp', sock_send: 'fpnnp', sock_shutdown: 'fn' };
let seed = 1;
const random = (n) => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 1) % n;
const pick = (list) => list[random(list.length)];
const junk = [undefined, null, 1.5, NaN, -0, '1', {}, [], 1n, Symbol('s'), () => 1, { valueOf() { memory.grow(1); return 1 } }];
const size = () => memory.buffer.byteLength;
const number = {
  p: () => pick([0, 8, 64, 1000, 4096, random(size()), size() - 1, size() - 4, size() - 8, size() - 64, size(), size() + 1, 2 ** 31, 2 ** 31 - 1, 2 ** 32 - 1, 2 ** 32 - 8, -1, -8, -(2 ** 31)]),
  n: () => pick([0, 1, 2, 3, 5, 6, 7, 9, 64, 200, 1024, 1025, 4095, 4096, random(70000), size(), 2 ** 29, 2 ** 29 + 1, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, -1]),
  f: () => pick([0, 3, 3, 3, 4, 4, 5, 6, 7, 8, 20, 99, 2 ** 31, 2 ** 32 - 1, -1]),
  b: () => pick([0n, 1n, 2n, 0x4000n, 0x1fffffffn, 0xfffffffn, 2n ** 31n, 2n ** 62n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n, -1n, 2n ** 200n, 1000n]),
};
const names = ['f', 'd', 'l', 'deep', 'd/up', 'd/up/etc/passwd', '..', '../..', '/etc', '.', '', 'new' , 'd/new', 'a/'.repeat(2040), 'x'.repeat(4095), '\0', '../w/f', '\u4e2d', '/', 'd/'.repeat(700)];
const fill = () => {
  const view = new DataView(memory.buffer), bytes = new Uint8Array(memory.buffer);
  for (let i = 0; i < 40; i++) view.setUint32(random(4096) * 4, pick([0, 1, random(size()), size() - 1, size(), 2 ** 32 - 1, 2 ** 31]), true);
  bytes.set(Buffer.from(pick(names)), pick([0, 8, 64, 1000, 4096]));
};
const silent = new Set([1, 2]);
const bombard = (rounds) => {
  for (let i = 0; i < rounds; i++) {
    if (i % 8 === 0) fill();
    if (i % 500 === 0 && size() < 39 * PAGE) memory.grow(1);
    if (i % 300 === 0) { try { w = make() } catch (e) { if (e.code !== 'UVWASI_EMFILE') throw e } }
    const [name, kinds] = pick(Object.entries(counts));
    // The other thread, which never rests, can make any time of it.
    if (mode === 'shared' && name === 'poll_oneoff') continue;
    const args = [...kinds].map((kind) => random(40) === 0 ? pick(junk) : number[kind]());
    if (name === 'poll_oneoff') { const view = new DataView(memory.buffer); for (let j = 0; j < 3; j++) { view.setUint8(72 + 48 * j, random(4)); view.setBigUint64(88 + 48 * j, BigInt(random(1000)), true); view.setUint16(104 + 48 * j, 0, true) } args[0] = 64; args[2] = pick([0, 1, 2, 3, 2 ** 30]); view.setUint8(72, 0) }
    if (args.some((arg) => silent.has(arg)) && kinds.startsWith('f')) args[0] = 3;
    if (random(60) === 0) args.pop();
    let errno;
    try { errno = w[name](...args) } catch (e) { if (!['ERR_WASI_NOT_STARTED'].includes(e.code) && !(e instanceof TypeError) && !(e instanceof RangeError)) throw e; continue }
    if (!(Number.isInteger(errno) && errno >= 0 && errno <= 76)) throw new Error(name + ' answered ' + errno);
  }
};
const main = () => {
  if (mode === 'class') {
    const Own = w.constructor, proto = Object.getPrototypeOf(w);
    const values = [undefined, null, 1, 'x', {}, [], [[]], [1], ['x'], new Array(2 ** 32 - 1), new Proxy([], {}), [1n], [Symbol('s')], Array(1e5).fill('x'.repeat(1000)), ['/', '/nope'], ['/', '/tmp/w', '/'], [-1, 99, 2 ** 40], [0, 1, 2], Object.assign([], { get 0() { memory.grow(1); return 'x' }, length: 3 })];
    for (const a of values) for (const b of values) for (const c of [[], values[random(values.length)]]) for (const d of [[0, 1, 2], values[random(values.length)]]) {
      try { new Own(a, b, c, d) } catch (e) { if (!(e instanceof Error)) throw e }
    }
    for (const f of [Own, ...Object.keys(counts).map((name) => proto[name])]) for (const receiver of [...values, proto, Own, WASI, memory, globalThis]) {
      try { Reflect.apply(f, receiver, [3, 0, 0, 0]) } catch (e) { if (!(e instanceof Error)) throw e }
    }
    // One that has no memory yet, one whose constructor failed, one that is not finished.
    const fresh = new Own([], [], [], [0, 1, 2]);
    for (const name of Object.keys(counts)) { try { fresh[name](...[...counts[name]].map((kind) => kind === 'b' ? 0n : 0)); throw new Error(name) } catch (e) { if (e.code !== 'ERR_WASI_NOT_STARTED') throw e } }
    for (const value of [...values, memory.buffer, Object.create(memory), new Proxy(memory, {})]) { try { fresh._setMemory(value); throw 1 } catch (e) { if (e.code !== 'ERR_INVALID_ARG_TYPE') throw e } }
    fresh._setMemory(memory);
    fresh._setMemory(new WebAssembly.Memory({ initial: 0 }));
    if (fresh.args_sizes_get(0, 0) !== 61) throw new Error('memory of no length');
    return;
  }
  if (mode === 'wide') {
    // As many buffers as fit, all of them empty, or all of memory each.
    const view = new DataView(memory.buffer);
    w.fd_close(0);
    const open = () => { new Uint8Array(memory.buffer).set(Buffer.from('f'), 8); return w.path_open(3, 0, 8, 1, 1, 0xfffffffn & 0x8e001ffn, 0n, 0, 0) || view.getUint32(0, true) };
    const fd = open();
    const many = size() / 8 - 2;
    view.setUint32(0, 0, true);
    new Uint8Array(memory.buffer).fill(0);
    if (w.fd_write(fd, 8, many, 0) !== 0 || w.fd_read(fd, 8, many, 0) !== 0) throw new Error('empty buffers');
    for (let i = 0; i < 2000; i++) { view.setUint32(16 + 8 * i, 0, true); view.setUint32(20 + 8 * i, size(), true) }
    const errno = w.fd_write(fd, 16, 2000, 0);
    if (![0, 51, 22, 48].includes(errno)) throw new Error('filled ' + errno);
    if (w.random_get(0, size()) !== 0 || w.fd_readdir(3, 0, size(), 0n, 0) !== 0) throw new Error('large');
    return;
  }
  if (mode === 'shared') {
    const { Worker } = require('worker_threads');
    const writer = `const { workerData: memory } = require('worker_threads');
      for (;;) { const cells = new Uint32Array(memory.buffer); for (let i = 0; i < 4096; i++) cells[(Math.random() * 4096) | 0] = [0, 1, cells.byteLength, 2 ** 32 - 1, 2 ** 31, Math.random() * 70000][(Math.random() * 6) | 0]; }`;
    new Worker(writer, { eval: true, workerData: memory }).unref();
  }
  bombard(30000);
};
main();
console.log('ok');
process.exit();
