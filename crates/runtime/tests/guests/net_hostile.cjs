'use strict';
// The bindings of the network, called as a hostile guest does: any receiver, any arguments.
const assert = require('assert');
const values = [undefined, null, true, -1, 0, 1.5, 70000, 2 ** 40, NaN, '', 'x'.repeat(5000), '\0', '::1', '127.0.0.1',
  Symbol('s'), 1n, {}, [], [[], null], () => {}, new Uint8Array(3), new ArrayBuffer(2), new Proxy({}, {}),
  { get length() { throw new Error('no'); } }];
const bindings = ['stream_wrap', 'tcp_wrap', 'pipe_wrap', 'udp_wrap', 'cares_wrap', 'uv', 'tty_wrap'];
let calls = 0;
let seed = 1;
const random = (n) => (seed = (seed * 1103515245 + 12345) & 0x7fffffff) % n;
const attempt = (f) => { calls++; try { return f(); } catch (e) { void e; } };
const requests = (b) => Object.values(b).filter((v) => typeof v === 'function' && /Wrap$/.test(v.name) && v.prototype);
const tcp = process.binding('tcp_wrap');
const streams = process.binding('stream_wrap');
for (const name of bindings) {
  const binding = process.binding(name);
  for (const [key, value] of Object.entries(binding)) {
    if (typeof value !== 'function') continue;
    for (let i = 0; i < 60; i++) {
      const args = Array.from({ length: random(6) }, () => values[random(values.length)]);
      attempt(() => Reflect.apply(value, values[random(values.length)], args));
      const object = attempt(() => new value(...(i % 2 ? args : [0])));
      if (!object || typeof object !== 'object') continue;
      let proto = Object.getPrototypeOf(object);
      const methods = new Set();
      while (proto && proto !== Object.prototype) {
        for (const method of Object.getOwnPropertyNames(proto)) methods.add(method);
        proto = Object.getPrototypeOf(proto);
      }
      for (const method of methods) {
        if (method === 'constructor') continue;
        for (let j = 0; j < 4; j++) {
          const args = Array.from({ length: random(6) }, () => {
            switch (random(5)) {
              case 0: return attempt(() => new streams.WriteWrap());
              case 1: return object;
              case 2: return attempt(() => new tcp.TCPConnectWrap());
              default: return values[random(values.length)];
            }
          });
          const f = attempt(() => object[method]);
          if (typeof f === 'function') {
            attempt(() => Reflect.apply(f, object, args));
            attempt(() => Reflect.apply(f, values[random(values.length)], args));
          } else {
            attempt(() => { object[method] = args[0]; });
          }
        }
      }
      attempt(() => object.close?.(() => {}));
    }
  }
}
assert.ok(calls > 10000, `${calls} calls`);
process.on('uncaughtException', () => {});
setTimeout(() => process.exit(0), 300);
