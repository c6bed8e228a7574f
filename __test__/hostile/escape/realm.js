// Ways to a realm, a process or a host that are not the guest's own.
// @outcome ok
// @options {"env": {"MINE": "1"}, "cpuTimeLimitMs": 2000}
// @each globalThis.constructor.constructor('return process')()
// @each this.constructor.constructor('return process')()
// @each (async () => {}).constructor('return process')
// @each Error.prototype.constructor.constructor('return process')()
// @each new Error().constructor.constructor('return process')()
// @each Promise.resolve().constructor.constructor('return process')()
// @each [][Symbol.iterator]().__proto__.__proto__.constructor.constructor('return process')?.()
// @each (function () { return arguments.constructor.constructor('return process')() })()
// @each process.constructor.constructor('return process')()
// @each process.mainModule.constructor._load('module')._load('process')
// @each process.mainModule.require('process')
// @each module.constructor._load('process')
// @each require('vm').runInThisContext('process')
// @each require('vm').runInNewContext('this.constructor.constructor("return process")()')
// @each require('vm').runInNewContext('f.constructor("return process")()', { f() {} })
// @each require('module')._cache && require('module').prototype.require.call({ id: '/', paths: [] , filename: '/a', children: [] }, 'process')
// @each process.binding('natives') && process
// @each process.stdout.constructor.constructor('return process')()
// @each (() => { try { null.x } catch (e) { return e.constructor.constructor('return process')() } })()
// @each (() => { try { require('fs').readFileSync('/nope') } catch (e) { return e.constructor.constructor('return process')() } })()
// @each (() => { let r; const e = new Error(); e.name = Symbol(); try { e.stack; `${e}` } catch (x) { r = x.constructor.constructor('return process')() } return r })()
// @each (() => { let found; Error.prepareStackTrace = (e, s) => { found = s.map((c) => [c.getThis?.(), c.getFunction?.()]).flat().find((v) => v && v.hostileCanary); return '' }; new Error().stack; return found ?? process })()
// @each (() => { (function f() { try { f() } catch (e) { globalThis.e = e } })(); return globalThis.e.constructor.constructor('return process')() })()
// @each require('events').EventEmitter.init.constructor('return process')()
// @each new Proxy(process, {}).mainModule ? process : process
// @each new (require('async_hooks').AsyncResource)('x').runInAsyncScope(() => process)
// @each require('worker_threads').parentPort ?? process
// @each require('node:process')
// @each globalThis.process
// @each (0, eval)('process')
// @each new Function('return process')()
const p = EACH;
const reached = typeof p === 'function' ? p() : p;
const env = Object.keys(require('process').env).sort();
if (globalThis.hostileCanary !== undefined) throw new Error('a global of the host');
if (process.env.HOSTILE_CANARY !== undefined || Object.values(process.env).join().includes('canary')) throw new Error('an environment of the host');
const check = (one) => { if (one?.pid === HOST_PID || one?.ppid === HOST_PID || one?.env?.HOSTILE_CANARY) throw new Error('the process of the host') };
check(reached);
Promise.resolve(reached).then((one) => { check(one); console.log('ok') });
