// Clocks: none of them moves while code runs.
// @outcome ok
// @options {"cpuTimeLimitMs": 3000}
// @each Date.now()
// @each +new Date()
// @each Date()
// @each new (Date.prototype.constructor)().getTime()
// @each Reflect.construct(Date, [], Object).valueOf === undefined ? 0 : Date.prototype.getTime.call(Reflect.construct(Date, [], Object))
// @each new (require('vm').runInNewContext('Date'))().getTime()
// @each require('vm').runInNewContext('Date.now()')
// @each require('vm').runInNewContext('new Intl.DateTimeFormat("en", { fractionalSecondDigits: 3 }).format()')
// @each performance.now()
// @each performance.timeOrigin
// @each performance.toJSON().timeOrigin
// @each performance.eventLoopUtilization().active
// @each performance.timerify(() => performance.now())()
// @each performance.mark('a').startTime
// @each performance.measure('m').duration
// @each performance.nodeTiming.duration
// @each performance.nodeTiming.idleTime
// @each JSON.stringify(performance.nodeTiming.uvMetricsInfo)
// @each String(process.hrtime())
// @each String(process.hrtime.bigint())
// @each process.uptime()
// @each JSON.stringify(process.cpuUsage())
// @each JSON.stringify(process.threadCpuUsage?.())
// @each JSON.stringify([process.resourceUsage().userCPUTime, process.resourceUsage().systemCPUTime])
// @each require('os').uptime()
// @each String(require('os').loadavg())
// @each JSON.stringify(require('os').cpus().map((c) => c.times))
// @each new Intl.DateTimeFormat('en', { fractionalSecondDigits: 3, second: 'numeric' }).format()
// @each JSON.stringify(new Intl.DateTimeFormat('en', { fractionalSecondDigits: 3 }).formatToParts())
// @each new Date().toLocaleTimeString('en', { fractionalSecondDigits: 3 })
// @each new Date().toISOString()
// @each typeof Temporal === 'undefined' ? 0 : Temporal.Now.instant().epochNanoseconds
// @each new Event('x').timeStamp
// @each new File([], 'a').lastModified
// @each (require('fs').writeFileSync('/tmp/t', 'x'), require('fs').statSync('/tmp/t', { bigint: true }).mtimeNs)
// @each (require('fs').writeFileSync('/tmp/t', 'x'), require('fs').statSync('/tmp/t', { bigint: true }).ctimeNs)
// @each (require('fs').mkdtempSync('/tmp/q'), require('fs').statSync('/tmp').mtimeMs)
// @each (require('fs').readdirSync('/tmp'), require('fs').statSync('/tmp').atimeMs)
// @each require('fs').statSync('/proc').mtimeMs
// @each require('fs').existsSync('/proc/uptime') && require('fs').readFileSync('/proc/uptime', 'utf8')
// @each require('fs').existsSync('/proc/self/stat') && require('fs').readFileSync('/proc/self/stat', 'utf8')
// @each require('fs').existsSync('/proc/stat') && require('fs').readFileSync('/proc/stat', 'utf8')
// @each require('fs').existsSync('/proc/loadavg') && require('fs').readFileSync('/proc/loadavg', 'utf8')
// @each JSON.stringify(process.report?.getReport?.()?.header?.dumpEventTime)
// @each JSON.stringify(process.report?.getReport?.()?.resourceUsage)
// @each JSON.stringify(require('perf_hooks').performance.getEntries().map((e) => e.startTime).slice(0, 5))
// @each require('worker_threads').performance?.now?.() ?? 0
// @each new (require('http').OutgoingMessage)()._date ?? require('internal') ?? 0
// @each require('util').debuglog('x').enabled
// @each new Error().stack.length
// @each require('child_process').execSync(`node -p "Date.now()"`).toString().slice(0, 0)
// @each require('crypto').randomUUID().length
// @each require('crypto').randomUUIDv7?.().slice(0, 13)
// @each require('async_hooks').executionAsyncId()
// @each JSON.stringify(require('v8').getHeapCodeStatistics?.() && 0)
// @each require('inspector').Session ? 0 : 1
// @each process.binding?.('uv') && 0
const read = () => { try { return EACH } catch (error) { return error.code ?? 'none' } };
read();
const before = read();
let x = 0;
for (let i = 0; i < 5e6; i++) x += i;
const after = read();
if (before !== after) throw new Error(`moved from ${before} to ${after}`);
console.log('ok');
