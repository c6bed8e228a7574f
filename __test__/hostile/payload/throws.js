// What is thrown: the host gets an error of its own with short strings.
// @outcome error | cpu | memory
// @options {"cpuTimeLimitMs": 200}
// @each null
// @each undefined
// @each 1n
// @each Symbol('x')
// @each () => {}
// @each class {}
// @each Object.freeze(new Error('x'))
// @each new Proxy(new Error('x'), { get() { throw 1 } })
// @each new Proxy({}, { get() { throw 1 }, getPrototypeOf() { throw 2 }, ownKeys() { throw 3 } })
// @each Object.create(null)
// @each { toString() { throw 1 } }
// @each { message: 'x'.repeat(2 ** 28) }
// @each new Error('x'.repeat(2 ** 28))
// @each new Error('x'.repeat(2 ** 24))
// @each Object.assign(new Error('x'), { code: 'x'.repeat(2 ** 24), name: 'y'.repeat(2 ** 24) })
// @each Object.assign(new Error('x'), { stack: 'y'.repeat(2 ** 25) })
// @each Object.assign(new Error('x'), { name: Symbol() })
// @each Object.defineProperty(new Error('x'), 'message', { get() { throw new Error('y') } })
// @each Object.defineProperty(new Error('x'), 'stack', { get() { throw new Error('y') } })
// @each Object.defineProperty(new Error('x'), 'name', { get() { return this.name } })
// @each Object.defineProperty(new Error('x'), 'code', { get() { throw this } })
// @each Object.setPrototypeOf(new Error('x'), null)
// @each Object.setPrototypeOf(new Error('x'), new Proxy({}, { get() { throw 1 } }))
// @each Object.assign(new Error('x'), { then(r) { r() } })
// @each new AggregateError(new Array(1e5).fill(new Error('x')))
// @each Object.assign(new Error('CPU time limit exceeded'), { code: 'ERR_RUNTIME_DISPOSED', reason: 'exit', exitCode: 0 })
// @each Object.assign(new Error('x'), { __proto__: { polluted: 1 } })
// @each new DOMException('a', 'AbortError')
// @each (() => { const e = new Error('x'); e.cause = e; e.errors = [e]; return e })()
// @each (() => { Error.prototype.toString = () => { throw 1 }; Error.prepareStackTrace = () => { throw 2 }; return new Error('x') })()
// @each (() => { Object.prototype.toString = null; String.prototype.toString = null; Array.prototype.join = null; return new Error('x') })()
// @each (() => { delete Error.prototype.message; Object.prototype.stack = 1; return { } })()
// @each (() => { process.emit = () => { throw 1 }; process._events = null; return new Error('x') })()
// @each (() => { process.stderr.write = () => { throw 1 }; console.error = null; return new Error('x') })()
// @each (() => { globalThis.process = null; globalThis.Error = null; globalThis.Object = null; return 1 })()
// @each (() => { for (const k of Reflect.ownKeys(globalThis)) try { delete globalThis[k] } catch {} return 1 })()
// @each (() => { for (const P of [Object, Array, Function, Promise, Map, String, RegExp, Error, Uint8Array]) for (const k of Reflect.ownKeys(P.prototype)) try { P.prototype[k] = () => { throw 1 } } catch {} return 1 })()
throw EACH;
