// Memory that bindings keep as their state and that the guest takes the pages of.
// @outcome ok
// @options {"cpuTimeLimitMs": 4000}
// @each const h = new Zlib(1); h.init(15, 6, 8, 0, state, () => {}, undefined); shrink(); h.writeSync(4, Buffer.from('x'), 0, 1, Buffer.alloc(100), 0, 100)
// @each const h = new Zlib(1); h.init(15, 6, 8, 0, state, () => {}, undefined); h.write(4, Buffer.from('x'), 0, 1, Buffer.alloc(100), 0, 100); shrink()
// @each const h = new Zlib(1); h.init(15, 6, 8, 0, state, shrink, undefined); h.write(4, Buffer.from('x'), 0, 1, Buffer.alloc(100), 0, 100)
// @each const h = new Brotli(9); h.init(new Uint32Array(10).fill(-1), state, () => {}); shrink(); h.writeSync(0, Buffer.from('x'), 0, 1, Buffer.alloc(100), 0, 100)
const zlib = require('zlib');
const Zlib = zlib.createDeflate()._handle.constructor, Brotli = zlib.createBrotliCompress()._handle.constructor;
const buffer = new ArrayBuffer(8, { maxByteLength: 1 << 20 });
const state = new Uint32Array(buffer);
const shrink = () => buffer.resize(0);
process.on('exit', () => { process.exitCode = 0; console.log('ok') });
try { EACH } catch (error) { if (!/writeState/.test(error.message)) throw error }
