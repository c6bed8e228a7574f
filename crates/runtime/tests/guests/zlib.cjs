'use strict';
const assert = require('assert');
const zlib = require('zlib');
const { promisify } = require('util');

const text = Buffer.from('All work and no play makes Jack a dull boy. '.repeat(20000));
const noise = Buffer.alloc(300000);
for (let i = 0, x = 1; i < noise.length; i++) noise[i] = (x = (Math.imul(x, 1103515245) + 12345) >>> 0) >>> 16;

const PAIRS = [
  ['deflate', 'inflate'], ['gzip', 'gunzip'], ['deflateRaw', 'inflateRaw'], ['gzip', 'unzip'], ['deflate', 'unzip'],
  ['brotliCompress', 'brotliDecompress'], ['zstdCompress', 'zstdDecompress'],
];
const FAST = { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 4 } };

// What Node's own libraries made of "hello hello hello".
for (const [name, base64] of [
  ['inflate', 'eJzLSM3JyVfIQJAAOi4GfQ=='],
  ['gunzip', 'H4sIAAAAAAAAA8tIzcnJV8hAkACAiPnlEQAAAA=='],
  ['brotliDecompress', 'GxAA+I2Ubt5EVYaWbCBvAU8cYBw='],
]) {
  assert.strictEqual(zlib[`${name}Sync`](Buffer.from(base64, 'base64')).toString(), 'hello hello hello');
}

for (const [pack, unpack] of PAIRS) {
  const options = pack === 'brotliCompress' ? FAST : {};
  for (const data of [text, noise, Buffer.alloc(0)]) {
    const packed = zlib[`${pack}Sync`](data, options);
    assert(data !== text || packed.length < data.length / 50, pack);
    assert(zlib[`${unpack}Sync`](packed).equals(data), `${pack} ${data.length}`);
  }
}

// Errors as Node words them.
const failure = (name, bytes, options) => {
  try { zlib[name](bytes, options); } catch ({ message, code, errno }) { return [message, code, errno]; }
  throw new Error(`${name} took it`);
};
assert.deepStrictEqual(failure('gunzipSync', Buffer.from('abc')), ['incorrect header check', 'Z_DATA_ERROR', -3]);
assert.deepStrictEqual(failure('gunzipSync', zlib.gzipSync(text).subarray(0, 50)), ['unexpected end of file', 'Z_BUF_ERROR', -5]);
assert.deepStrictEqual(failure('brotliDecompressSync', Buffer.from('ffffffff', 'hex')),
                       ['Decompression failed', 'ERR__ERROR_FORMAT_PADDING_2', -15]);
assert.deepStrictEqual(failure('brotliDecompressSync', Buffer.from('abc')), ['unexpected end of file', 'Z_BUF_ERROR', -5]);
assert.deepStrictEqual(failure('zstdDecompressSync', Buffer.from('abcdabcd')),
                       ['Unknown frame descriptor', 'ZSTD_error_prefix_unknown', 10]);
const dictionary = Buffer.from('All work and no play');
const withDictionary = zlib.deflateSync('no play', { dictionary });
assert.strictEqual(zlib.inflateSync(withDictionary, { dictionary }).toString(), 'no play');
assert.deepStrictEqual(failure('inflateSync', withDictionary), ['Missing dictionary', 'Z_NEED_DICT', 2]);
assert.deepStrictEqual(failure('inflateSync', withDictionary, { dictionary: Buffer.from('other') }),
                       ['Bad dictionary', 'Z_NEED_DICT', 2]);

// A bomb ends at the caller's cap.
const bomb = zlib.gzipSync(Buffer.alloc(20 << 20));
assert.deepStrictEqual(failure('gunzipSync', bomb, { maxOutputLength: 1 << 20 }).slice(1, 2), ['ERR_BUFFER_TOO_LARGE']);

assert.strictEqual(zlib.crc32('hello'), 907060870);
assert.strictEqual(zlib.crc32(Buffer.from('lo'), zlib.crc32('hel')), 907060870);

// Members of one file, padding, and garbage behind it.
const twice = Buffer.concat([zlib.gzipSync('one'), zlib.gzipSync('two'), Buffer.alloc(9)]);
assert.strictEqual(zlib.gunzipSync(twice).toString(), 'onetwo');

// Any receiver, any arguments, at any time.
const { Zlib, BrotliEncoder, ZstdCompress, crc32 } = process.binding('zlib');
const state = new Uint32Array(2);
assert.throws(() => Zlib(1), { code: 'ERR_CONSTRUCT_CALL_REQUIRED' });
assert.throws(() => new Zlib(0), { code: 'ERR_INVALID_ARG_TYPE' });
assert.throws(() => Zlib.prototype.write.call({}, 0), TypeError);
assert.throws(() => crc32({}, 0), { code: 'ERR_INVALID_ARG_TYPE' });
const make = (mode = 1) => {
  const it = new Zlib(mode);
  it.init(15, 6, 8, 0, state, () => {});
  return it;
};
const [input, output] = [Buffer.from('input'), Buffer.alloc(64)];
assert.throws(() => new Zlib(1).writeSync(0, input, 0, 5, output, 0, 64), { code: 'ERR_INVALID_STATE' });
assert.throws(() => make().init(15, 6, 8, 0, state, () => {}), { code: 'ERR_INVALID_STATE' });
assert.throws(() => new Zlib(1).init(99, 6, 8, 0, state, () => {}), { code: 'ERR_INVALID_ARG_TYPE' });
assert.throws(() => make().writeSync(0, input, 0, 6, output, 0, 64), { code: 'ERR_INVALID_ARG_TYPE' });
assert.throws(() => make().writeSync(0, input, 2 ** 32 - 1, 5, output, 0, 64), { code: 'ERR_INVALID_ARG_TYPE' });
assert.throws(() => make().writeSync(0, input, 0, 5, output, 60, 5), { code: 'ERR_INVALID_ARG_TYPE' });
assert.throws(() => make().writeSync(0, input, { valueOf() { throw new Error('mine'); } }, 5, output, 0, 64), /mine/);
new BrotliEncoder(1).close();
assert.throws(() => new ZstdCompress().init([], 1, state, () => {}), { code: 'ERR_INVALID_ARG_TYPE' });
{
  const it = make();
  it.close();
  assert.throws(() => it.write(0, input, 0, 5, output, 0, 64), { code: 'ERR_INVALID_STATE' });
  it.reset();
  it.params(1, 1);
}
for (const flush of [7, 1000, -1]) {
  const it = make();
  it.onerror = () => {};
  it.writeSync(flush, input, 0, 5, output, 0, 64);
}
{
  // Memory that goes while another thread works with it.
  const buffer = new ArrayBuffer(1 << 20, { maxByteLength: 1 << 21 });
  const target = new ArrayBuffer(1 << 16);
  const it = new Zlib(1);
  it.init(15, 6, 8, 0, state, () => { it.done = true; });
  it.write(4, new Uint8Array(buffer), 0, 1 << 20, new Uint8Array(target), 0, 1 << 16);
  buffer.resize(0);
  structuredClone(target, { transfer: [target] });
  assert.throws(() => it.write(4, input, 0, 5, output, 0, 64), { code: 'ERR_INVALID_STATE' });
  assert.throws(() => it.reset(), { message: "Cannot reset zlib stream while a write is in progress" });
  it.close();
  process.on('exit', () => assert(it.done));
}

(async () => {
  await Promise.all(PAIRS.map(async ([pack, unpack]) => {
    const options = pack === 'brotliCompress' ? FAST : {};
    const packed = await promisify(zlib[pack])(text, options);
    assert((await promisify(zlib[unpack])(packed)).equals(text));
  }));
  await assert.rejects(promisify(zlib.gunzip)(Buffer.from('abc')), { code: 'Z_DATA_ERROR' });

  // Parameters that change in mid-stream, and flushes.
  const deflate = zlib.createDeflate({ level: 0 });
  const parts = [];
  deflate.on('data', (part) => parts.push(part));
  deflate.write(text);
  await new Promise((resolve) => deflate.params(9, zlib.constants.Z_DEFAULT_STRATEGY, resolve));
  assert(Buffer.concat(parts).length > text.length);
  deflate.end(text);
  await new Promise((resolve) => deflate.on('end', resolve));
  const packed = Buffer.concat(parts);
  assert(packed.length < text.length * 1.1);
  assert(zlib.inflateSync(packed).equals(Buffer.concat([text, text])));
})();
