// Traps that loop, in places where builtins and the library call them.
// @outcome cpu
// @each for (const k in new Proxy({}, { ownKeys() { for (;;); } }));
// @each new Proxy({}, { has() { for (;;); } }) instanceof Object; 'a' in new Proxy({}, { has() { for (;;); } })
// @each new Proxy({}, { getPrototypeOf() { for (;;); } }) instanceof Object
// @each Object.keys(new Proxy({}, { ownKeys: () => ['a'], getOwnPropertyDescriptor() { for (;;); } }))
// @each ({}).__proto__ = null; Object.setPrototypeOf(globalThis, new Proxy({}, { get() { for (;;); }, has() { for (;;); } })); nope
// @each Object.freeze(new Proxy({}, { preventExtensions() { for (;;); } }))
// @each new (new Proxy(function () {}, { construct() { for (;;); } }))()
// @each new Proxy(() => {}, { apply() { for (;;); } })()
// @each class X { static [Symbol.hasInstance]() { for (;;); } } ({}) instanceof X
// @each [].concat({ get [Symbol.isConcatSpreadable]() { for (;;); } })
// @each class A extends Array { static get [Symbol.species]() { for (;;); } } new A(1).map(String)
// @each new Promise((r) => r({ get then() { for (;;); } }))
// @each await { then() { for (;;); } }
// @each console.log(new Proxy({}, { get() { for (;;); } })); console.log({ [require('util').inspect.custom]() { for (;;); } })
// @each throw new Proxy({}, { get() { for (;;); }, getPrototypeOf() { for (;;); } })
// @each const e = new Error(); Object.defineProperty(e, 'stack', { get() { for (;;); } }); throw e
// @each Error.prepareStackTrace = () => { for (;;); }; throw new Error('x')
// @each Error.prepareStackTrace = () => { for (;;); }; new Error('x').stack
// @each Promise.reject({ get stack() { for (;;); }, get message() { for (;;); }, toString() { for (;;); } })
// @each Object.prototype.toString = function () { for (;;); }; String({})
// @each Object.defineProperty(Object.prototype, 'then', { get() { for (;;); } }); await {}
// @each Object.defineProperty(Array.prototype, '0', { get() { for (;;); }, set() { for (;;); } }); const fs = require('fs'); [][0]; for (;;);
// @each Array.prototype[Symbol.iterator] = function* () { for (;;); }; for (const x of [1]);
// @each require('fs').readFileSync({ toString() { for (;;); } }.toString())
// @each Buffer.from({ valueOf() { for (;;); } })
// @each process.env.X = { toString() { for (;;); } }
// @each process.stdout.write = () => { for (;;); }; console.log(1)
// @each globalThis.process = new Proxy(process, { get() { for (;;); } }); setTimeout(() => globalThis.process.x)
EACH
