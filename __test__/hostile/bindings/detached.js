// Buffers that shrink, move or go while a call reads its other arguments, and while work on another thread has them.
// @outcome ok
// @options {"cpuTimeLimitMs": 3000}
process.on('uncaughtException', () => {});
process.on('unhandledRejection', () => {});
const fs = require('fs'), crypto = require('crypto'), zlib = require('zlib');
const make = () => { const b = new ArrayBuffer(4096, { maxByteLength: 8192 }); return [b, new Uint8Array(b)] };
const uses = [
  (v, n) => fs.writeSync(fs.openSync('/tmp/a', 'w'), v, n, 4000),
  (v, n) => fs.readSync(fs.openSync('/tmp/a', 'r'), v, n, 4000, 0),
  (v, n) => fs.writeFileSync('/tmp/b', v, { mode: n }),
  (v, n) => Buffer.from(v.buffer, n, 4000),
  (v, n) => crypto.randomFillSync(v, n, 4000),
  (v, n) => crypto.randomFill(v, () => {}),
  (v, n) => crypto.createHash('sha1').update(v).digest(n),
  (v, n) => crypto.createCipheriv('aes-128-cbc', v.subarray(0, 16), v.subarray(0, 16)).update(v, n),
  (v, n) => crypto.pbkdf2(v, v, 1, n, 'sha1', () => {}),
  (v, n) => crypto.scryptSync(v, v, n),
  (v, n) => crypto.timingSafeEqual(v, v),
  (v, n) => zlib.gzip(v, { level: n }, () => {}),
  (v, n) => zlib.deflateSync(v, { chunkSize: n }),
  (v, n) => zlib.crc32(v, n),
  (v, n) => Buffer.prototype.copy.call(Buffer.from(v.buffer), v, n),
  (v, n) => Buffer.prototype.fill.call(Buffer.from(v.buffer), v, n),
  (v, n) => Buffer.prototype.indexOf.call(Buffer.from(v.buffer), v, n),
  (v, n) => Buffer.prototype.toString.call(Buffer.from(v.buffer), 'hex', n),
  (v, n) => Buffer.prototype.write.call(Buffer.from(v.buffer), 'x'.repeat(5000), n),
  (v, n) => Buffer.prototype.swap64.call(Buffer.from(v.buffer)),
  (v, n) => new TextDecoder().decode(v.subarray(n)),
  (v, n) => new TextEncoder().encodeInto('x'.repeat(5000), v),
  (v, n) => new (require('string_decoder').StringDecoder)('utf8').write(v),
  (v, n) => require('v8').deserialize(v),
  (v, n) => process.stdout.write(v, n),
  (v, n) => structuredClone(v, { transfer: [{ valueOf: () => n }] }),
  (v, n) => new Blob([v]).slice(n).arrayBuffer(),
  (v, n) => process.hrtime([n, v]),
  (v, n) => WebAssembly.compile(v),
  (v, n) => WebAssembly.validate(v),
  (v, n) => fs.promises.writeFile('/tmp/c', v),
  (v, n) => fs.writev(fs.openSync('/tmp/d', 'w'), [v, v], n, () => {}),
  (v, n) => new (require('vm').Script)('1', { cachedData: v }),
  (v, n) => crypto.subtle.digest('SHA-256', v),
  (v, n) => require('dgram').createSocket('udp4').send(v, n, 9, 9),
];
for (const use of uses) {
  for (const harm of [(b) => b.resize(0), (b) => b.resize(3), (b) => b.resize(8192), (b) => b.transfer(), (b) => structuredClone(b, { transfer: [b] })]) {
    const [b, v] = make();
    try { use(v, { valueOf() { harm(b); return 96 }, toString() { harm(b); return '96' }, [Symbol.toPrimitive]() { harm(b); return 96 } }) } catch {}
    const [b2, v2] = make();
    try { Promise.resolve(use(v2, 96)).catch(() => {}) } catch {}
    try { harm(b2) } catch {}
  }
}
setTimeout(() => { require('fs').writeSync(1, '\nok\n'); process.reallyExit(0) }, 100);
