// Every function of every binding, its objects and their methods, in any order, with what was made before among the arguments.
// @outcome any
// @options {"cpuTimeLimitMs": 6000, "memoryLimit": 128, "wallTimeLimitMs": 60000}
// @within 60000
// @each fs fs_dir
// @each zlib
// @each crypto
// @each crypto tls_wrap
// @each http2
// @each http_parser undici_parser
// @each tls_wrap stream_wrap js_stream
// @each tcp_wrap pipe_wrap stream_wrap stream_pipe
// @each udp_wrap js_udp_wrap cares_wrap
// @each messaging worker blob
// @each contextify module_wrap
// @each buffer encoding_binding string_decoder
// @each sqlite
// @each wasi fs
// @each serdes v8 heap_utils
// @each url modules builtins
// @each process_wrap spawn_sync
// @each process_methods credentials os
// @each util types icu
// @each performance report trace_events options
// @each block_list uv fs_event_wrap signal_wrap tty_wrap permission
const attack = (names, rounds) => {
  let seed = 1;
  const random = (n) => (((seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff) >>> 8) % n);
  const { internalBinding } = require('internal/test/binding');
  const gone = new Uint8Array(8);
  structuredClone(gone.buffer, { transfer: [gone.buffer] });
  const made = [];
  const keep = (value) => {
    if (value === null || (typeof value !== 'object' && typeof value !== 'function')) return;
    made[made.length < 300 ? made.length : random(300)] = value;
    if (typeof value.catch === 'function') value.catch(() => {});
  };
  const revoked = (target) => { const { proxy, revoke } = Proxy.revocable(target, {}); revoke(); return proxy };
  const shrinking = () => { const buffer = new ArrayBuffer(64, { maxByteLength: 4096 }); keep(new Uint8Array(buffer)); return { valueOf() { buffer.resize(0); return 8 }, toString() { buffer.resize(1); return '/tmp' } } };
  const values = [undefined, null, -1, 0, 1, 2, 3, 2 ** 31, 2 ** 31 - 1, 2 ** 32, -(2 ** 31), 2 ** 53, NaN, Infinity, 1.5, 1n, -1n, 2n ** 64n, '', '/', '/tmp', 'utf8', 'sha256', 'aes-128-gcm', 'x'.repeat(70000), '\ud800', '\0', '127.0.0.1', '::1', Symbol('s'), {}, [], [1, 2, 3], ['a', 'b'], function () {}, (() => {}).bind(), () => { throw new Error('thrown') }, gone, new Proxy({}, {}), new Proxy(function () {}, {}), revoked({}), revoked(function () {}), Object.create(revoked({})), new DataView(new ArrayBuffer(4)), Object.create(null), new Map(), new Set(), Promise.resolve(), globalThis, process, new Uint32Array(20), new Float64Array(20), new BigUint64Array(20), new ArrayBuffer(1000), { oncomplete() {}, onread() {}, ondone() {} }, { get a() { throw new Error('got') }, length: 5 }, { length: 2 ** 32 }, true, false];
  const value = () => { const n = random(4); return n === 0 && made.length > 0 ? made[random(made.length)] : n === 1 && random(4) === 0 ? shrinking() : values[random(values.length)] };
  const list = (most) => Array.from({ length: random(most) }, value);
  // What ends the process, waits for ever, or takes away what this program itself runs by.
  const skipped = /^(reallyExit|abort|causeSegfault|_?kill|crash|_debug\w+|execve|exit|trigger\w+|sleep|runLoop|spin|set[A-Z]\w*(Callback|Hooks?|Message|Source|Trampoline|Enabled|Near\w+|Trace)|setupTimers|scheduleTimer|immediateInfo|toggle\w+Ref|constructor)$/;
  const functions = [];
  const visit = (object, name, depth, seen) => {
    if (object === null || (typeof object !== 'object' && typeof object !== 'function') || seen.has(object) || depth > 3) return;
    seen.add(object);
    for (const key of Reflect.ownKeys(object)) {
      let found;
      try { found = object[key] } catch { continue }
      if (skipped.test(String(key))) continue;
      if (typeof found === 'function' && key !== 'prototype') functions.push([String(key), found, object]);
      visit(found, String(key), depth + 1, seen);
    }
  };
  const seen = new Set([Object.prototype, Function.prototype, Array.prototype]);
  for (const name of names) visit(internalBinding(name), name, 0, seen);
  process.on('uncaughtException', () => {}).on('unhandledRejection', () => {});
  const call = () => {
    if (random(4) > 0 || made.length === 0) {
      const [name, found, receiver] = functions[random(functions.length)];
      if (/^[A-Z]/.test(name) && random(5) > 0) keep(Reflect.construct(found, list(8)));
      else keep(Reflect.apply(found, random(3) > 0 ? receiver : value(), list(8)));
      return;
    }
    const object = made[random(made.length)];
    if (object === process || object === globalThis) return;
    const keys = [];
    // The keys of a long buffer would be most of what this program does.
    for (let at = ArrayBuffer.isView(object) || Array.isArray(object) ? Object.getPrototypeOf(object) : object, depth = 0; at !== null && depth < 3 && !seen.has(at); at = Object.getPrototypeOf(at), depth++) keys.push(...Reflect.ownKeys(at));
    const key = keys[random(keys.length)];
    if (key === undefined || skipped.test(String(key))) return;
    if (typeof object[key] === 'function') keep(Reflect.apply(object[key], random(10) > 0 ? object : value(), list(7)));
    else if (random(3) === 0) object[key] = value();
  };
  (function go() {
    for (let i = 0; i < 200; i++) try { call() } catch {}
    if (--rounds > 0) setImmediate(go);
    else process.reallyExit(0);
  })();
};
require('fs').writeFileSync('/tmp/attack.js', `(${attack})(${JSON.stringify('EACH'.split(' '))}, 100)`);
require('child_process').spawnSync(process.execPath, ['--expose-internals', '--no-warnings', '/tmp/attack.js'], { timeout: 4000, killSignal: 'SIGKILL', stdio: 'ignore' });
