// Functions that V8 has no name for, where a binding's error names what it got.
// @outcome ok
// @each new Proxy(function () {}, {})
// @each new Proxy(class {}, {})
// @each new Proxy((() => {}).bind(), {})
// @each new Proxy(new Proxy(function () {}, {}), {})
// @each (() => { const { proxy, revoke } = Proxy.revocable(function () {}, {}); revoke(); return proxy })()
// @each Object.setPrototypeOf(function () {}, new Proxy(function () {}, {}))
// @each new Proxy(function () {}, {}).bind()
// @each Object.defineProperty(function () {}, 'name', { get() { throw new Error('asked') } })
const callable = EACH;
const fs = process.binding('fs');
for (const key of Reflect.ownKeys(fs)) {
  if (typeof fs[key] !== 'function') continue;
  for (const args of [[callable], [callable, callable], [1, callable], ['/', callable], [1, new Uint8Array(1), callable, callable, callable]]) {
    try { fs[key](...args) } catch (error) { if (error.message === 'asked') throw error }
  }
}
console.log('ok');
