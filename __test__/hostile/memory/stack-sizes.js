// Stacks that a guest asks for are no larger than its threads have.
// @outcome any
// @options {"cpuTimeLimitMs": 150}
// @within 12000
// @each require('v8').setFlagsFromString('--stack-size=1000000')
// @each new (require('worker_threads').Worker)(code, { eval: true, resourceLimits: { stackSizeMb: 1024 } })
// @each new (require('worker_threads').Worker)(code, { eval: true, resourceLimits: { stackSizeMb: 0.001 } })
// @each new (require('worker_threads').Worker)(code, { eval: true, resourceLimits: { stackSizeMb: 0 } })
// @each new (require('worker_threads').Worker)(code, { eval: true, resourceLimits: { stackSizeMb: -1, maxOldGenerationSizeMb: -1, maxYoungGenerationSizeMb: -5, codeRangeSizeMb: -3 } })
// @each new (require('worker_threads').Worker)(code, { eval: true, resourceLimits: { stackSizeMb: Infinity, maxOldGenerationSizeMb: Infinity, maxYoungGenerationSizeMb: NaN, codeRangeSizeMb: 2 ** 40 } })
// @each new (require('worker_threads').Worker)(code, { eval: true, resourceLimits: { codeRangeSizeMb: 0.0001 } })
// @each new (require('worker_threads').Worker)(code, { eval: true, resourceLimits: { codeRangeSizeMb: 100000 } })
// @each new (require('worker_threads').Worker)(code, { eval: true, resourceLimits: { maxOldGenerationSizeMb: 1 } })
// @each new (require('worker_threads').Worker)(code, { eval: true, execArgv: ['--stack-size=1000000'] })
// @each new (require('worker_threads').Worker)(code, { eval: true, env: { NODE_OPTIONS: '--stack-size=1000000 --max-old-space-size=100000' } })
// @each require('child_process').execFileSync(process.execPath, ['--stack-size=1000000', '-e', code])
// @each require('child_process').execFileSync(process.execPath, ['-e', code], { env: { NODE_OPTIONS: '--stack-size=1000000' } })
// @each require('child_process').execFileSync(process.execPath, ['--max-old-space-size=100000', '-e', 'const a = []; for (;;) a.push({})'])
// @each require('child_process').execFileSync(process.execPath, ['--allow-natives-syntax', '-e', '%SystemBreak()'])
// @each require('child_process').execFileSync(process.execPath, ['--expose-gc', '--jitless', '--single-threaded', '--abort-on-uncaught-exception', '-e', 'throw 1'])
// @each require('child_process').execFileSync(process.execPath, ['--abort-on-uncaught-exception', '-e', 'throw 1'])
// @each require('child_process').execFileSync(process.execPath, ['--inspect-brk=0.0.0.0:9229', '-e', '1'])
// @each require('child_process').execFileSync(process.execPath, ['--cpu-prof', '--heap-prof', '--prof', '--trace-gc', '--trace-opt', '--print-bytecode', '-e', 'for (let i = 0; i < 1e5; i++);'])
// @each require('child_process').execFileSync(process.execPath, ['--experimental-vm-modules', '--expose-internals', '-e', 'require("internal/bootstrap/realm")'])
// @each require('child_process').execFileSync(process.execPath, ['--openssl-config=/etc/passwd', '--icu-data-dir=/etc', '--snapshot-blob=/etc/passwd', '--heapsnapshot-signal=SIGUSR2', '--report-on-fatalerror', '-e', '1'])
// @each process.abort()
// @each process.kill(process.pid, 'SIGSEGV')
// @each process.kill(process.pid, 'SIGABRT')
// @each process.kill(0, 'SIGKILL')
// @each process.kill(-1, 'SIGKILL')
// @each require('v8').setHeapSnapshotNearHeapLimit(3); const a = []; for (;;) a.push({})
// @each require('v8').writeHeapSnapshot('/tmp/h'); require('v8').getHeapSnapshot().resume()
// @each require('v8').queryObjects?.(Object); new (require('v8').GCProfiler)().start()
// @each require('v8').takeCoverage(), require('v8').stopCoverage()
// @each require('v8').setFlagsFromString('--max-heap-size=100000'); const a = []; for (;;) a.push({})
// @each require('v8').setFlagsFromString('--stress-compaction --gc-interval=1 --no-lazy --always-turbofan --fuzzing --trace-gc'); for (let i = 0; i < 1e6; i++) [{}]
const code = '(function f() { f() })()';
EACH;
(function f() { f() })();
