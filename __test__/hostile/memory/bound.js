// Chains of bound functions that V8's optimising compilers follow by recursion, on threads without a stack check.
// @outcome ok | cpu | memory
// @options {"cpuTimeLimitMs": 3000}
// @each o instanceof f
// @each !(o instanceof f)
// @each Function.prototype[Symbol.hasInstance].call(f, o)
// @each Reflect.apply(Function.prototype[Symbol.hasInstance], f, [o])
// @each new f()
// @each Reflect.construct(Object, [], f)
// @each f()
// @each f(...[1, 2])
// @each [1, 2].map(f)
const { setTimeout: sleep } = require('timers/promises')
const o = {}
const f = (() => { let f = function () {}; for (let i = 0; i < 1e5; i++) f = f.bind(null); return f })()
function hot (deep) { let s = 0; if (deep) { s += EACH ? 1 : 2 } for (let i = 0; i < 20; i++) s += i; return s }
sleep(1).then(async () => {
  for (let round = 0; round < 10; round++) {
    for (let i = 0; i < 20000; i++) { try { hot(i < 10) } catch {} }
    await sleep(5)
  }
  console.log('ok')
})
