// What comes back from `run`: data, and never code.
// @outcome any
// @run
// @options {"memoryLimit": 32, "cpuTimeLimitMs": 250, "payloadLimits": {"jsonPayloadBytes": 1048576, "base64TransferBytes": 1048576}}
// @grows 400
// @each JSON.parse('{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}')
// @each { ['__proto__']: { polluted: 1 } }
// @each { constructor: { prototype: { polluted: 1 } } }
// @each new Map([['__proto__', { polluted: 1 }]])
// @each { then(r) { r(1) } }
// @each { then: 1 }
// @each [{ then(r) { for (;;); } }]
// @each { get a() { for (;;); } }
// @each { toJSON() { for (;;); } }
// @each { [Symbol.toPrimitive]() { for (;;); }, [Symbol.toStringTag]: 'x' }
// @each { [Symbol.for('nodejs.util.inspect.custom')]() { for (;;); } }
// @each new Proxy({}, { get() { for (;;); }, ownKeys() { for (;;); }, getPrototypeOf() { for (;;); } })
// @each new Proxy([], { get() { for (;;); } })
// @each Object.create(new Proxy({}, { get() { for (;;); }, getPrototypeOf() { for (;;); } }))
// @each new Array(1e6).fill('x'.repeat(1e7))
// @each (() => { let a = []; for (let i = 0; i < 1e6; i++) a = [a]; return a })()
// @each (() => { let a = {}; for (let i = 0; i < 1e6; i++) a = { a }; return a })()
// @each (() => { let a = new Map(); for (let i = 0; i < 1e5; i++) a = new Map([[a, a]]); return a })()
// @each (() => { let a = new Error(); for (let i = 0; i < 1e5; i++) a = new Error('x', { cause: a }); return a })()
// @each (() => { const a = []; a.length = 2 ** 32 - 1; return a })()
// @each (() => { const a = []; a[2 ** 32 - 2] = 1; return a })()
// @each (() => { const a = {}; a.a = a; return a })()
// @each new Array(2 ** 25)
// @each 'x'.repeat(2 ** 28)
// @each '\ud800'.repeat(1e5)
// @each '\u0100'.repeat(2 ** 28)
// @each '\0\u2028\ufeff\ud800x'
// @each 1n << 1000000n
// @each 1n << 30000000n
// @each -0
// @each [NaN, -Infinity, 2 ** 53 + 1, new Date(NaN), /a/g]
// @each Symbol('x')
// @each [() => 1]
// @each class {}
// @each new Uint8Array(2 ** 27).subarray(5, 6)
// @each new Uint8Array(2 ** 24)
// @each (() => { const b = new ArrayBuffer(10, { maxByteLength: 1000 }); const v = new Uint8Array(b); b.resize(0); return v })()
// @each (() => { const b = new ArrayBuffer(10); const v = new Uint8Array(b); b.transfer(); return [v, b] })()
// @each (() => { const b = new ArrayBuffer(10, { maxByteLength: 1000 }); const v = new DataView(b, 5); b.resize(2); return v })()
// @each Promise.reject(new Error('x'))
// @each new Promise(() => {})
// @each [Promise.reject(1)]
// @each { then: null, catch: 1, finally: 2 }
// @each globalThis
// @each process
// @each process.env
// @each require
// @each new WebAssembly.Memory({ initial: 1 })
// @each new WeakMap()
// @each new (class A { get x() { for (;;); } })()
// @each Object.defineProperty({}, 'a', { enumerable: true, get() { for (;;); } })
// @each Object.defineProperty([], '0', { enumerable: true, get() { for (;;); } })
// @each Object.assign(() => {}, { a: 1 })
// @each Object.assign(new Map(), { size: 1e9, [Symbol.iterator]() { for (;;); } })
// @each new Set(new Array(2e6).keys())
// @each Object.fromEntries(new Array(3e5).fill(0).map((_, i) => ['k' + i, i]))
// @each Object.setPrototypeOf([], { get length() { for (;;); } })
// @each Object.assign(new Error('m'), { name: { toString() { for (;;); } }, stack: { toString() { for (;;); } }, message: { toString() { for (;;); } } })
// @each Object.defineProperties(new Error('m'), { name: { get() { for (;;); } }, message: { get() { for (;;); } }, stack: { get() { for (;;); } }, cause: { get() { for (;;); } }, code: { get() { for (;;); } } })
// @each new AggregateError(new Array(1e6).fill(new Error('x')))
// @each new DOMException('a', 'b')
// @each (function () { return arguments })(1, 2)
// @each (function* () { for (;;); })()
// @each new Intl.NumberFormat()
// @each new Date(8.64e15)
// @each Object(1n)
// @each Object(Symbol())
// @each Object.freeze({ a: Object.freeze([1]) })
// @each { a: { ['x'.repeat(1e7)]: 1 } }
// @each { a: undefined, [Symbol('b')]: 1, '': 2, 1: 3, '-1': 4 }
// @each new Blob(['x'])
// @each Buffer.from('x')
// @each structuredClone
// @each import.meta
module.exports = EACH;
