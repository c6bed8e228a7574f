// Clocks that a guest builds itself: a count of turns until something happens elsewhere.
// @outcome ok
// @options {"cpuTimeLimitMs": 4000, "wallTimeLimitMs": 8000}
// @each new SharedArrayBuffer(8)
// @each new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }).buffer.slice(0) && new (Object.getPrototypeOf(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }).buffer).constructor)(8)
// @each Atomics.wait(new Int32Array(new ArrayBuffer(8)), 0, 0, 10)
// @each Atomics.wait(new Int32Array(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }).buffer), 0, 0, 10)
// @each Atomics.waitAsync(new Int32Array(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }).buffer), 0, 0, 10)
// @each Atomics.waitAsync.call(null, new Int32Array(new ArrayBuffer(8)), 0, 0, 10)
// @each require('v8').setFlagsFromString('--allow-natives-syntax'), eval('%GetOptimizationStatus')
// @each new ShadowRealm()
// @each gc()
// @each require('inspector').open()
// @each let failure; const s = new (require('inspector').Session)(); s.connect(); s.post('Profiler.enable'); s.post('Profiler.start', (e) => (failure = e)); if (failure) throw failure
// @each let failure; const s = new (require('inspector').Session)(); s.connect(); s.post('Profiler.enable'); s.post('Runtime.getHeapUsage', (e) => (failure = e)); if (failure) throw failure
// @each let failure; const s = new (require('inspector').Session)(); s.connect(); s.post('Profiler.enable'); s.post('HeapProfiler.startTrackingHeapObjects', (e) => (failure = e)); if (failure) throw failure
// @each require('v8').startCpuProfile()
// @each process.binding('natives').x.y
let reached = false;
try { EACH; reached = true } catch {}
if (reached) throw new Error('it is there');
console.log('ok');
