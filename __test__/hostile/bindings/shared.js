// Shared memory that another thread writes, and makes longer, while every binding that takes bytes reads and writes it.
// @outcome ok
// @options {"timingMitigation": "off", "cpuTimeLimitMs": 10000, "memoryLimit": 128}
const { Worker } = require('worker_threads');
const zlib = require('zlib'), crypto = require('crypto'), fs = require('fs'), v8 = require('v8'), vm = require('vm'), buffer = require('buffer');
const { HTTPParser } = require('_http_common');
const { StringDecoder } = require('string_decoder');
const shared = new SharedArrayBuffer(1 << 14, { maxByteLength: 1 << 18 });
const writer = `
  const { workerData: shared } = require('worker_threads');
  const bytes = new Uint8Array(shared);
  for (let length = 1 << 14; ; ) {
    for (let i = 0; i < 4096; i++) bytes[(Math.random() * bytes.length) | 0] = Math.random() * 256;
    if (length < 1 << 18) shared.grow((length += 4096));
  }`;
const file = fs.openSync('/tmp/file', 'w+');
const key = crypto.generateKeyPairSync('ed25519').privateKey;
const uses = [
  ...['utf8', 'latin1', 'ascii', 'ucs2', 'hex', 'base64', 'base64url'].flatMap((encoding) => [
    (b) => b.toString(encoding),
    (b) => b.write('41\u00e9\u4e2d'.repeat(500), encoding),
    (b) => b.fill('4142', encoding),
    (b) => b.indexOf('4142', 3, encoding),
  ]),
  ...['utf-8', 'utf-16le', 'shift_jis', 'windows-1252', 'gb18030'].map((name) => (b) => new TextDecoder(name, { fatal: true }).decode(b)),
  (b) => new TextEncoder().encodeInto('\u4e2d'.repeat(1000), b),
  (b) => new StringDecoder('utf8').write(b),
  (b) => b.subarray(0, 4096).swap16(),
  (b) => b.subarray(0, 4096).swap64(),
  (b) => b.fill(b.subarray(0, 7)),
  (b) => b.copy(b, 10),
  (b) => b.compare(b.subarray(1)),
  (b) => b.indexOf(b.subarray(5, 9)),
  (b) => b.lastIndexOf(b.subarray(5, 9)),
  (b) => Buffer.concat([b, b]),
  (b) => buffer.isUtf8(b),
  (b) => buffer.transcode(b, 'utf8', 'ucs2'),
  ...['deflateSync', 'inflateSync', 'gunzipSync', 'brotliDecompressSync', 'zstdDecompressSync', 'zstdCompressSync'].map((name) => (b) => zlib[name](b.subarray(0, 4096))),
  (b) => zlib.deflate(b.subarray(0, 4096), () => {}),
  (b) => zlib.deflateSync(b.subarray(0, 4096), { dictionary: b.subarray(0, 999) }),
  (b) => zlib.crc32(b),
  (b) => crypto.createHash('sha256').update(b).digest(),
  (b) => crypto.createHmac('sha256', b).update(b).digest(),
  (b) => crypto.randomFillSync(b),
  (b) => crypto.randomFill(b, () => {}),
  (b) => crypto.timingSafeEqual(b, b),
  (b) => crypto.createCipheriv('aes-256-gcm', b.subarray(0, 32), b.subarray(0, 12)).update(b),
  (b) => crypto.sign(null, b, key),
  (b) => crypto.verify(null, b, key, b.subarray(0, 64)),
  (b) => crypto.createPrivateKey(b.subarray(0, 500)),
  (b) => crypto.createPublicKey({ key: b.subarray(0, 300), format: 'der', type: 'spki' }),
  (b) => new crypto.X509Certificate(b.subarray(0, 900)),
  (b) => crypto.subtle.digest('SHA-1', b).catch(() => {}),
  (b) => fs.writeSync(file, b, 0, 4096, 0),
  (b) => fs.readSync(file, b, 0, 4096, 0),
  (b) => fs.writevSync(file, [b, b], 0),
  (b) => fs.readvSync(file, [b, b], 0),
  (b) => fs.read(file, b, 0, 4096, 0, () => {}),
  (b) => fs.writeFileSync('/tmp/other', b),
  (b) => fs.existsSync(b.subarray(0, 20)),
  (b) => v8.serialize(b),
  (b) => v8.deserialize(b),
  (b) => new Blob([b, shared]).text().catch(() => {}),
  (b) => structuredClone(b),
  (b) => WebAssembly.validate(b.subarray(0, 1000)),
  (b) => new WebAssembly.Module(b),
  (b) => WebAssembly.compile(b).catch(() => {}),
  (b) => new vm.Script('1', { cachedData: b }),
  (b) => { const parser = new HTTPParser(); parser.initialize(HTTPParser.REQUEST, {}); parser.execute(b.subarray(0, 500)) },
];
process.on('uncaughtException', () => {});
new Worker(writer, { eval: true, workerData: shared }).on('online', () => {
  const end = Date.now() + 2500;
  (function round() {
    for (const use of uses) try { use(Buffer.from(shared)) } catch {}
    if (Date.now() < end) return void setImmediate(round);
    console.log('ok');
    process.exit(0);
  })();
});
