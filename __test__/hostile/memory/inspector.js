// Answers of the inspector that are far larger than their questions, and what it keeps for ever.
// @outcome memory | error | cpu
// @options {"memoryLimit": 64, "cpuTimeLimitMs": 4000}
// @grows 500
// @each let a = []; for (let i = 0; i < 60; i++) a = [a, a]; globalThis.a = a; s.post('Runtime.evaluate', { expression: 'a', returnByValue: true })
// @each globalThis.a = Array.from({ length: 2e6 }, () => 'x'.repeat(9)); s.post('Runtime.evaluate', { expression: 'Array(50).fill(a)', returnByValue: true })
// @each globalThis.a = Array.from({ length: 1e6 }, () => ({})); for (;;) s.post('Runtime.evaluate', { expression: 'a' }, (e, r) => s.post('Runtime.getProperties', { objectId: r.result.objectId, ownProperties: true }))
// @each for (;;) s.post('Runtime.evaluate', { expression: '({})' })
// @each for (let i = 0;; i++) s.post('Runtime.evaluate', { expression: '({})', objectGroup: 'group' + i })
// @each for (let i = 0;; i++) s.post('Runtime.addBinding', { name: 'x'.repeat(1e5) + i })
// @each s.post('Debugger.enable'); for (let i = 0;; i++) s.post('Debugger.setBreakpointByUrl', { lineNumber: i, url: 'x'.repeat(1e5) + i })
// @each s.post('Debugger.enable'); for (let i = 0;; i++) try { (0, eval)('//# sourceURL=' + 'x'.repeat(1e6) + i) } catch {}
// @each s.post('Debugger.enable'); for (let i = 0;; i++) s.post('Runtime.compileScript', { expression: 'y'.repeat(1e6), sourceURL: 'a' + i, persistScript: true })
// @each const all = []; for (;;) { const t = new Session(); t.connect(); all.push(t) }
// @each for (;;) { const t = new Session(); t.connect(); t.post('Runtime.enable'); t.disconnect() }
// @each s.post('Runtime.enable'); for (let i = 0;; i++) console.log('x'.repeat(1e7) + i)
// @each s.post('Runtime.enable'); const vm = require('vm'); for (;;) vm.createContext({}, { name: 'x'.repeat(1e5) })
// @each s.post('HeapProfiler.startSampling', { samplingInterval: 1 }); const keep = []; for (;;) keep.push({})
// @each s.post('Profiler.enable'); s.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true }); for (let i = 0;; i++) (0, eval)(`${'function f(){}'.repeat(1e4)}//${i}`), i % 20 || s.post('Profiler.takePreciseCoverage')
// @each s.post('Runtime.setAsyncCallStackDepth', { maxDepth: 1e9 }); s.post('Debugger.enable'); for (;;) setTimeout(() => {}, 1e9)
// @each const c = new (require('inspector').Session)(); for (;;) c.on('x'.repeat(1e6) + Math.random(), () => {}), s.post('Runtime.evaluate', { expression: '"' + 'x'.repeat(1e6) + '"' })
const { Session } = require('inspector');
const s = new Session();
s.connect();
EACH
