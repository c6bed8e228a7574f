// Contexts of vm: each is a realm of its own, of half a megabyte.
// @outcome memory | error
// @error context|memory
// @options {"memoryLimit": 32, "cpuTimeLimitMs": 8000}
// @grows 110
// @each for (;;) a.push(vm.createContext())
// @each for (;;) a.push(vm.createContext({}))
// @each for (;;) a.push(vm.createContext(vm.constants.DONT_CONTEXTIFY))
// @each for (;;) a.push(vm.runInNewContext('({ a: [], f() {} })'))
// @each for (;;) a.push(vm.createContext({}, { microtaskMode: 'afterEvaluate' }))
// @each for (;;) try { a.push(vm.createContext()) } catch (e) { if (a.push(e) > 2e5) throw e }
// @each let c = vm.createContext({ vm }); for (;;) c = vm.runInContext('vm.createContext({ vm, c: globalThis })', c), a.push(c)
const vm = require('vm'), a = [];
EACH
