// Contexts of node:vm and what goes between them: always the guest's own realm, under the same guards.
// @outcome ok
// @options {"memoryLimit": 512, "cpuTimeLimitMs": 6000, "resourceBudgets": {"maxContexts": 40}}
const vm = require('vm'), assert = require('assert');
const canaries = ['hostileCanary', 'canary', 'NodeRuntime', '__secureExec'];
const codes = [
  'this.constructor.constructor("return globalThis")()',
  '(async function () {}).constructor("return globalThis")()',
  '(function* () {}).constructor("return globalThis")().next().value',
  '(async function* () {}).constructor("return globalThis")()',
  'Reflect.construct(Function, ["return globalThis"], class {})()',
  'new Proxy(Function, {}).constructor("return globalThis")()',
  'Error.prepareStackTrace = (e, s) => s.map((c) => c.getThis && c.getThis()).find(Boolean); new Error().stack',
  'try { inner.fail() } catch (e) { e.constructor.constructor("return globalThis")() }',
  'inner.promise.constructor.constructor("return globalThis")()',
  'Object.getPrototypeOf(inner.fail).constructor("return globalThis")()',
  'import("node:fs").catch((e) => e.constructor.constructor("return globalThis")())',
];
const look = (realm) => { if (realm && typeof realm === 'object') for (const name of canaries) assert.ok(!(name in realm), name) };
for (const code of codes) {
  const inner = { fail() { null.x }, promise: Promise.resolve() };
  for (const run of [() => vm.runInNewContext(code, { inner }), () => vm.runInContext(code, vm.createContext({ inner }, { codeGeneration: { strings: true } })), () => vm.runInThisContext(`(inner) => { ${code.includes(';') ? code : 'return ' + code} }`)({ fail() { null.x }, promise: Promise.resolve() })]) {
    let value;
    try { value = run() } catch { continue }
    look(value);
    if (value instanceof Promise || typeof value?.then === 'function') value.then(look, () => {});
  }
}
assert.throws(() => vm.runInNewContext('eval("1")', {}, { contextCodeGeneration: { strings: false } }), /EvalError|Code generation/);
assert.throws(() => vm.runInNewContext('new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]))', {}, { contextCodeGeneration: { wasm: false } }));
assert.throws(() => vm.runInNewContext('for (;;);', {}, { timeout: 20 }), { code: 'ERR_SCRIPT_EXECUTION_TIMEOUT' });
assert.throws(() => vm.runInNewContext('for (;;) try { for (;;); } catch {} finally { continue }', {}, { timeout: 20 }));
assert.throws(() => vm.runInNewContext('new SharedArrayBuffer(8)'));
const kept = []; let error;
try { for (;;) kept.push(vm.createContext({})) } catch (e) { error = e }
assert.equal(error.code, 'ERR_RESOURCE_BUDGET_EXCEEDED');
setTimeout(() => console.log('ok'), 20);
