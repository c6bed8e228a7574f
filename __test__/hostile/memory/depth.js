// Recursion of every kind, in JavaScript, in V8's C++ and in ours: an error, never the end of the host.
// @outcome any
// @options {"cpuTimeLimitMs": 120}
// @each (function f() { f() })()
// @each (function f(...a) { f(...a, 1) })()
// @each (async function f() { await f() })()
// @each (function* f() { yield* f() })().next()
// @each const o = { get a() { return this.a } }; o.a
// @each const o = { toString() { return '' + this } }; '' + o
// @each const o = { valueOf() { return +this } }; +o
// @each const o = { toJSON() { return JSON.stringify(this) } }; JSON.stringify(o)
// @each const o = { [Symbol.toPrimitive]() { return `${this}` } }; `${o}`
// @each let p = {}; for (let i = 0; i < 1e5; i++) p = new Proxy(p, {}); p.a
// @each let p = {}; for (let i = 0; i < 1e5; i++) p = new Proxy(p, {}); Object.getPrototypeOf(p)
// @each let p = []; for (let i = 0; i < 1e5; i++) p = new Proxy(p, {}); Array.isArray(p); JSON.stringify(p)
// @each let p = () => {}; for (let i = 0; i < 1e5; i++) p = new Proxy(p, {}); p()
// @each let p = function () {}; for (let i = 0; i < 1e5; i++) p = new Proxy(p, {}); new p()
// @each let p = {}; for (let i = 0; i < 1e5; i++) p = new Proxy({}, p); p.a
// @each const h = {}; const p = new Proxy({}, h); Object.setPrototypeOf(h, p); p.a
// @each const p = new Proxy({}, {}); Object.setPrototypeOf(p, Object.create(p)); p.a
// @each let f = () => {}; for (let i = 0; i < 1e5; i++) f = f.bind(null); f()
// @each let f = function () {}; for (let i = 0; i < 1e5; i++) f = f.bind(null); new f(); ({}) instanceof f
// @each class A {} let f = A; for (let i = 0; i < 1e5; i++) f = f.bind(); Reflect.construct(f, [], f)
// @each let a = []; for (let i = 0; i < 1e5; i++) a = [a]; a.join()
// @each let a = []; for (let i = 0; i < 1e5; i++) a = [a]; a.flat(Infinity)
// @each let a = []; for (let i = 0; i < 1e5; i++) a = [a]; JSON.stringify(a)
// @each let a = []; for (let i = 0; i < 1e5; i++) a = [a]; structuredClone(a)
// @each let a = {}; for (let i = 0; i < 1e5; i++) a = { a }; structuredClone(a)
// @each let a = new Map(); for (let i = 0; i < 1e5; i++) a = new Map([[a, 1]]); structuredClone(a)
// @each let a = new Error(); for (let i = 0; i < 1e5; i++) a = new Error('x', { cause: a }); structuredClone(a)
// @each let a = {}; for (let i = 0; i < 1e5; i++) a = { a }; require('v8').serialize(a)
// @each let a = {}; for (let i = 0; i < 1e5; i++) a = { a }; new MessageChannel().port1.postMessage(a)
// @each let a = {}; for (let i = 0; i < 1e5; i++) a = { a }; console.log(require('util').inspect(a, { depth: Infinity }))
// @each let a = {}; for (let i = 0; i < 1e5; i++) a = { a }; require('assert').deepStrictEqual(a, structuredClone({}))
// @each let a = {}, b = {}; for (let i = 0; i < 1e5; i++) { a = { a }; b = { a: b } } require('util').isDeepStrictEqual(a, b)
// @each require('v8').deserialize(Buffer.from('ff0f' + '6f220161'.repeat(1e5), 'hex'))
// @each require('v8').deserialize(Buffer.concat([Buffer.from([255, 15]), Buffer.alloc(1e5 * 2, Buffer.from([0x41, 1]))]))
// @each JSON.parse('['.repeat(1e6) + ']'.repeat(1e6))
// @each eval('('.repeat(1e5) + ')'.repeat(1e5))
// @each eval('['.repeat(1e5) + ']'.repeat(1e5))
// @each eval('{'.repeat(1e5) + '}'.repeat(1e5))
// @each eval('-'.repeat(1e5).split('').join(' ') + '1')
// @each eval('!'.repeat(1e6) + '1')
// @each eval('a=>'.repeat(1e5) + '1')
// @each eval('x?'.repeat(1e5) + '1' + ':1'.repeat(1e5))
// @each eval('1+'.repeat(1e6) + '1')
// @each eval('1**'.repeat(1e5) + '1')
// @each eval('`${'.repeat(1e5) + '1' + '}`'.repeat(1e5))
// @each eval('function f(){'.repeat(1e5) + '}'.repeat(1e5))
// @each eval('class A{[class{'.repeat(3e4) + '}](){}}'.repeat(3e4))
// @each eval('if(1)'.repeat(1e5) + ';')
// @each eval('for(;0;)'.repeat(1e5) + ';')
// @each eval('a:'.repeat(1) + 'try{'.repeat(1e5) + '}finally{}'.repeat(1e5))
// @each eval('var {a:'.repeat(1) + '{a:'.repeat(1e5) + 'b' + '}'.repeat(1e5) + '}=1')
// @each eval('x' + '.a'.repeat(1e6))
// @each eval('x' + '?.a'.repeat(1e5))
// @each eval('x' + '()'.repeat(1e5))
// @each eval('new '.repeat(1e5) + 'x')
// @each eval('await '.repeat(1e5) + '1')
// @each eval('async()=>'.repeat(1e5) + '1')
// @each eval('yield '.repeat(1e5) + '1')
// @each eval('delete '.repeat(1e5) + 'x')
// @each eval('switch(1){case 1:'.repeat(1e5) + '}'.repeat(1e5))
// @each new Function('a=' + '['.repeat(1e5) + ']'.repeat(1e5), '')
// @each new RegExp('('.repeat(1e5) + ')'.repeat(1e5))
// @each new RegExp('(?=' + '(?='.repeat(3e4) + ')'.repeat(3e4) + ')').test('')
// @each new RegExp('[' .repeat(1e5) + ']'.repeat(1e5), 'v')
// @each new RegExp('(?:a|'.repeat(1e5) + ')'.repeat(1e5))
// @each let s = ''; for (let i = 0; i < 1e6; i++) s = 'a' + s; s.charCodeAt(5)
// @each let s = ''; for (let i = 0; i < 1e6; i++) s = s + 'a'; /a/.test(s)
// @each let l = null; for (let i = 0; i < 5e5; i++) l = { l }; globalThis.l = l; for (let i = 0; i < 1e6; i++) [{}]
// @each let e = new Error('x'); for (let i = 0; i < 1e5; i++) e = new Error('x', { cause: e }); throw e
// @each let e = new Error('x'); for (let i = 0; i < 1e5; i++) e = new AggregateError([e], 'x'); throw e
// @each const e = new Error('x'); e.cause = e; throw e
// @each let p = new Proxy({}, {}); for (let i = 0; i < 1e5; i++) p = new Proxy(p, {}); throw p
// @each let f = 0; Error.prepareStackTrace = (e, s) => { return new Error('x').stack }; new Error().stack
// @each let t = Promise.resolve(); for (let i = 0; i < 1e5; i++) t = { then: (r) => r(t) }; await t
// @each let p = Promise.resolve(); for (let i = 0; i < 1e5; i++) { const q = p; p = new Promise((r) => r(q)) } await p; console.log('ok')
// @each const { port1, port2 } = new MessageChannel(); port1.postMessage(port2, [port2]); (function f(p) { const c = new MessageChannel(); c.port1.postMessage(p, [p]); f(c.port2) })(port1)
// @each (function f() { try { f() } catch { process.memoryUsage(); require('fs').existsSync('/'); throw new Error('deep') } })()
// @each (function f() { try { f() } catch (e) { require('fs').readFileSync('/proc/self/stat'); f() } })()
// @each (function f() { require('vm').runInNewContext('f()', { f }) })()
// @each (function f() { require('vm').runInThisContext('(f) => f()')(f) })()
// @each (function f() { new (require('events'))().on('newListener', f).on('x', f) })()
// @each (function f() { require('crypto').createHash('sha1').update(String(f())) })()
// @each (function f() { eval('f()') })()
// @each (function f() { [1].forEach(f) })()
// @each (function f() { 'a'.replace(/a/, f) })()
// @each (function f() { [2, 1].sort(f) })()
// @each (function f() { Reflect.apply(f, null, []) })()
// @each (function f() { new Promise(f) })()
// @each (function f() { JSON.parse('[1]', f) })()
// @each (function f() { Array.from([1], f) })()
// @each (function f() { queueMicrotask.call(null, f); f() })()
// @each (function f() { new Uint8Array([1]).map(f) })()
// @each (function f() { structuredClone({ get a() { return f() } }) })()
// @each (function f() { require('util').inspect({ [require('util').inspect.custom]: f }) })()
// @each (function f() { const e = new EventTarget(); e.addEventListener('a', f); e.dispatchEvent(new Event('a')) })()
// @each (function f() { new Intl.NumberFormat({ toString: f }) })()
// @each (function f() { new Proxy({}, { get: f }).x })()
// @each (function f() { class A extends (f(), Object) {} })()
// @each class A { constructor() { new this.constructor() } } new A()
// @each const t = new WebAssembly.Table({ element: 'anyfunc', initial: 1 }); const b = [0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 7, 5, 1, 1, 102, 0, 0, 10, 6, 1, 4, 0, 16, 0, 11]; new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array(b))).exports.f()
EACH
