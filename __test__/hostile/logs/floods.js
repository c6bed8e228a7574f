// Output: bounded, and nothing of it is taken for anything else.
// @outcome any
// @options {"cpuTimeLimitMs": 200, "memoryLimit": 64, "resourceBudgets": {"maxOutputBytes": 4194304}}
// @grows 300
// @each for (;;) console.log('x'.repeat(1e5))
// @each for (;;) process.stdout.write('x')
// @each for (;;) require('fs').writeSync(1, 'x'.repeat(1000))
// @each for (;;) require('fs').writeSync(2, Buffer.alloc(1e6))
// @each for (;;) console.error('x')
// @each for (;;) console.table([[1, 2], [3, 4]])
// @each for (;;) console.trace()
// @each for (;;) console.group()
// @each for (;;) { console.time('a' + Math.random()) }
// @each for (;;) console.count('a' + Math.random())
// @each for (;;) process._rawDebug('x'.repeat(1000))
// @each for (;;) require('fs').appendFileSync('/dev/stdout', 'x'.repeat(1e4))
// @each for (;;) require('fs').appendFileSync('/dev/stderr', 'x'.repeat(1e4))
// @each for (;;) require('fs').appendFileSync('/proc/self/fd/1', 'x'.repeat(1e4))
// @each for (;;) process.emitWarning('x' + Math.random())
// @each (function f() { process.stdout.write('x'.repeat(1e5), f) })()
// @each (function f() { process.stdout.write('x'.repeat(1e5)); setImmediate(f) })()
// @each console.log('%s', { toString() { for (;;); } }); console.log('%c%o%O%j%d%i%f', 1, process, globalThis, {}, 1n, 1, 1)
// @each console.log('\x1b]52;c;aGk=\x07\x1b[2J\x9b\u202e\r\b\0'); process.stdout.write(Buffer.from([0xff, 0xc0, 0x80, 0xed, 0xa0, 0x80, 0xf0]))
// @each for (const b of Buffer.from('ü€😀'.repeat(1000))) process.stdout.write(Buffer.from([b]))
// @each console.log('{"level":"info","vm":1}\n{"reason":"exit","code":0}'); process.exit(7)
// @each require('child_process').execSync('while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxx; done', { stdio: 'inherit' })
// @each const c = require('child_process').spawn(process.execPath, ['-e', 'for(;;)console.log("x".repeat(1e4))'], { stdio: 'inherit' })
// @each new (require('worker_threads').Worker)('for(;;)console.log("x".repeat(1e4))', { eval: true })
// @each console.log(new Array(1e6).fill({ a: { b: { c: 1 } } }))
// @each console.dir(globalThis, { depth: Infinity, showHidden: true })
// @each console.log(process.getActiveResourcesInfo(), process.report?.getReport?.())
EACH
