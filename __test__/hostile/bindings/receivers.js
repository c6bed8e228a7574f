// Every function of every binding that a guest can reach, with receivers and arguments of every kind.
// @outcome any
// @options {"cpuTimeLimitMs": 6000, "memoryLimit": 128, "wallTimeLimitMs": 60000}
// @within 60000
// @each fs
// @each fs.promises
// @each crypto
// @each crypto.webcrypto.subtle
// @each zlib
// @each net
// @each dgram
// @each dns
// @each tls
// @each http
// @each http2
// @each v8
// @each vm
// @each util
// @each buffer
// @each stream
// @each url
// @each os
// @each path
// @each events
// @each module
// @each perf_hooks
// @each worker_threads
// @each async_hooks
// @each child_process
// @each readline
// @each string_decoder
// @each tty
// @each diagnostics_channel
// @each inspector
// @each timers
// @each querystring
// @each cluster
// @each trace_events
// @each wasi
// @each node:sqlite
const [name, ...path] = 'EACH'.split('.');
let target = require(name);
for (const key of path) target = target[key];
const gone = new Uint8Array(8);
structuredClone(gone.buffer, { transfer: [gone.buffer] });
const shrinking = new ArrayBuffer(64, { maxByteLength: 128 });
const view = new Uint8Array(shrinking);
const shrinks = { valueOf() { shrinking.resize(0); return 32 }, toString() { shrinking.resize(1); return '/tmp/x' } };
const { proxy: revoked, revoke } = Proxy.revocable({}, {});
revoke();
const values = [undefined, null, -1, 0, 1, 2 ** 31, 2 ** 32, 2 ** 53, NaN, Infinity, 1n, '', '/', 'x'.repeat(70000), '\ud800', '\0', Symbol('s'), {}, [], () => {}, gone, view, shrinks, new Proxy({}, {}), new Proxy(function () {}, {}), revoked, new DataView(new ArrayBuffer(4)), Object.create(null), new Date(NaN), new Map(), Promise.resolve(), new URL('file:///x'), process, globalThis];
const skipped = new Set(['exit', 'reallyExit', 'abort', 'kill', 'disconnect', 'setHeapSnapshotNearHeapLimit', 'runMain', '_debugger']);
process.on('uncaughtException', () => {});
process.on('unhandledRejection', () => {});
console.log = console.error = () => {};
let seed = 7;
const pick = () => values[(seed = (seed * 1103515245 + 12345) & 0x7fffffff) % values.length];
const seen = new Set();
const call = (f, receiver, args, construct) => { try { const r = construct ? Reflect.construct(f, args) : Reflect.apply(f, receiver, args); if (r && typeof r.catch === 'function') r.catch(() => {}); return r } catch {} };
const visit = (object, depth) => {
  if (object === null || (typeof object !== 'object' && typeof object !== 'function') || seen.has(object) || depth > 3) return;
  seen.add(object);
  for (const key of Reflect.ownKeys(object)) {
    let value;
    try { value = object[key] } catch { continue }
    if (skipped.has(key) || key === 'constructor') continue;
    if (typeof value === 'function' && !/Sync$/.test(String(key)) | Math.abs(seed) % 2) {
      for (let i = 0; i < 6; i++) call(value, i % 2 ? object : pick(), [pick(), pick(), pick(), pick()].slice(0, i));
      const made = call(value, null, [pick(), pick()], true);
      if (made) { visit(made, depth + 1); call(made.destroy ?? made.close ?? (() => {}), made, []) }
    }
    visit(value, depth + 1);
    if (view.length === 0) shrinking.resize(64);
  }
};
visit(target, 0);
setTimeout(() => process.reallyExit(0), 100);
