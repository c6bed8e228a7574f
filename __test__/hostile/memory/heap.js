// Growth of V8's heap, in all its forms.
// @outcome any
// @options {"memoryLimit": 16, "cpuTimeLimitMs": 150}
// @each const a = []; for (;;) a.push({})
// @each const a = []; for (;;) a.push(Math.random())
// @each const a = []; for (;;) a.push(a.slice())
// @each new Array(6e7).fill(1.5)
// @each Array.from({ length: 2 ** 28 })
// @each const a = new Array(1e8); for (let i = 0; ; i++) a[i] = i
// @each const a = new Array(2 ** 27); a.fill({}); a.slice()
// @each const m = new Map(); for (let i = 0; ; i++) m.set(i, i)
// @each const m = new Set(); for (let i = 0; ; i++) m.add({})
// @each const w = new WeakMap(); let k = {}; const root = k; for (;;) { const n = {}; w.set(k, n); k = n }
// @each const w = new WeakSet(), all = []; for (;;) { const o = {}; w.add(o); all.push(o) }
// @each const r = new FinalizationRegistry(() => {}); for (;;) r.register({}, {}, {})
// @each const r = new FinalizationRegistry((h) => { globalThis.x = h; r.register({}, h) }); const f = () => { for (let i = 0; i < 1e5; i++) r.register({}, new Array(10)); setImmediate(f) }; f()
// @each const all = []; for (;;) all.push(new WeakRef({}))
// @each for (let i = 0; ; i++) Symbol.for('s' + i)
// @each const a = []; for (;;) a.push(Symbol('s'))
// @each const o = {}; for (let i = 0; ; i++) o['k' + i] = i
// @each for (let i = 0, o = {}; ; i++) { o = Object.create(o); o['p' + i] = 1; globalThis.o = o }
// @each const a = []; for (let i = 0; ; i++) a.push({ ['k' + i]: 1 })
// @each const a = []; for (;;) a.push(() => a)
// @each const a = []; for (;;) a.push(new Function('return 1'))
// @each const a = []; for (let i = 0; ; i++) a.push(eval('(function () { return ' + i + ' })'))
// @each const a = []; for (;;) a.push(new Promise(() => {}))
// @each const a = []; for (;;) a.push((async () => { await new Promise(() => {}) })())
// @each const a = []; for (;;) a.push((function* () { yield a })())
// @each const a = []; for (;;) a.push(Promise.reject(1))
// @each const a = []; for (;;) a.push(new Error('x'))
// @each const a = []; for (;;) a.push(new Date())
// @each const a = []; for (;;) a.push(1n << 10000n)
// @each const a = []; for (let i = 0; ; i++) a.push('x'.repeat(1000) + i)
// @each let s = 'x'; for (;;) s += s + Math.random()
// @each let l = null; for (;;) l = { l }
// @each let f = () => {}; for (;;) f = f.bind(null)
// @each let p = {}; for (;;) p = new Proxy(p, {})
// @each let s = ''; for (;;) s = 'a' + s + 'b'
// @each let f = []; for (;;) f.push(function () {}.bind.apply(function () {}, new Array(1000)))
// @each for (let i = 1; ; i *= 2) new Array(i).fill(0.5)
// @each let a = [1.5]; for (;;) a = a.concat(a)
// @each let a = [1]; for (;;) a.push(...a)
// @each let o = { a: 1 }; for (;;) o = { ...o, [Math.random()]: o }
// @each const a = []; for (;;) a.push(structuredClone({ a: new Array(1000) }))
// @each const a = []; for (;;) { a.push(new Array(1e5).fill(0)); if (a.length > 20) a.splice(0, 10) }
// @each class A { #a = new Array(1000); } const a = []; for (;;) a.push(new A())
// @each const a = []; for (;;) a.push(/x/.exec('x'))
// @each function f(n) { return arguments } const a = []; for (;;) a.push(f(...new Array(100)))
// @each const a = []; for (;;) a.push(new Error('x', { cause: a }).stack)
// @each Error.stackTraceLimit = Infinity; const a = []; (function f(n) { if (n) f(n - 1); else for (;;) a.push(new Error()) })(5000)
// @each const t = (s) => s; const a = []; for (let i = 0; ; i++) a.push(eval('t`a' + i + '`'))
// @each for (let i = 0; ; i++) Object.defineProperty(globalThis, 'g' + i, { get() { return i } })
// @each const a = []; for (;;) a.push(Object.freeze(Object.assign([], new Array(100).fill(0))))
// @each const a = []; for (;;) a.push(new Intl.Locale('en-US'))
// @each const a = []; for (;;) a.push([..."abc".matchAll(/./g)])
// @each const a = []; for (;;) a.push(process.memoryUsage())
// @each const a = []; for (;;) a.push(require('v8').getHeapSpaceStatistics())
// @each const a = []; for (let i = 0; ; i++) a.push(new (require('vm').Script)('var a' + i))
// @each Object.prototype[0] = 1; const a = []; for (;;) a.push(new Array(1000))
EACH
