// What `process.binding` still answers, called with anything.
// @outcome any
// @options {"cpuTimeLimitMs": 4000, "memoryLimit": 128}
// @within 40000
console.log = () => {};
process.on('uncaughtException', () => {});
process.on('unhandledRejection', () => {});
const names = ['buffer', 'cares_wrap', 'config', 'constants', 'contextify', 'crypto', 'fs', 'fs_event_wrap', 'http_parser', 'icu', 'inspector', 'js_stream', 'natives', 'os', 'pipe_wrap', 'process_wrap', 'signal_wrap', 'spawn_sync', 'stream_wrap', 'tcp_wrap', 'tls_wrap', 'tty_wrap', 'udp_wrap', 'url', 'util', 'uv', 'v8', 'zlib', 'errors', 'module_wrap', 'worker', 'messaging', 'serdes'];
const { proxy: revoked, revoke } = Proxy.revocable(function () {}, {});
revoke();
const values = [undefined, null, -1, 2 ** 32, NaN, 1n, '', 'x', Symbol('s'), {}, [], () => {}, new Uint8Array(4), new Proxy({}, {}), new Proxy(function () {}, {}), revoked, globalThis];
let seed = 11;
const pick = () => values[(seed = (seed * 1103515245 + 12345) & 0x7fffffff) % values.length];
for (const name of names) {
  let binding;
  try { binding = process.binding(name) } catch { continue }
  for (const key of Reflect.ownKeys(binding)) {
    const value = binding[key];
    if (typeof value !== 'function') continue;
    for (let i = 0; i < 20; i++) {
      const args = [pick(), pick(), pick(), pick(), pick()].slice(0, i % 6);
      try { Reflect.apply(value, i % 3 ? pick() : binding, args) } catch {}
      let made;
      try { made = Reflect.construct(value, args) } catch { continue }
      for (const method of Reflect.ownKeys(value.prototype ?? {})) {
        for (let j = 0; j < 4; j++) {
          try { made[method](pick(), pick(), pick(), pick()) } catch {}
          try { value.prototype[method].call(pick(), pick(), pick()) } catch {}
        }
      }
    }
  }
}
setTimeout(() => process.reallyExit(0), 50);
