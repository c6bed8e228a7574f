// Clocks that profiles and coverage would tell.
// @outcome ok
// @options {"cpuTimeLimitMs": 4000}
const inspector = require('inspector');
const s = new inspector.Session();
s.connect();
const times = [];
const note = (method, params) => s.post(method, params, (error, result) => times.push(error ? 0 : result.timestamp ?? 0));
s.on('Runtime.consoleAPICalled', (m) => times.push(m.params.timestamp));
s.post('Runtime.enable');
s.post('Profiler.enable');
const spin = () => { for (let i = 0; i < 3e6; i++); };
note('Profiler.startPreciseCoverage', { callCount: true });
inspector.console.time('a');
spin();
note('Profiler.takePreciseCoverage');
inspector.console.timeEnd('a');
inspector.console.timeStamp('a');
spin();
note('Profiler.takePreciseCoverage');
inspector.console.log(1);
const covered = times.filter((time) => time > 0);
if (new Set(covered).size !== 1 || covered[0] > 1100) throw new Error(`times move: ${times}`);
let refused = 0;
s.post('Profiler.start', (error) => { if (/timingMitigation/.test(error.message)) refused++ });
for (const console of [inspector.console, globalThis.console, require('vm').runInNewContext('console')]) {
  console.profile?.('x'); spin(); console.profileEnd?.('x');
}
s.post('Runtime.evaluate', { expression: 'typeof profile', includeCommandLineAPI: true }, (error, { result }) => { if (result.value === 'undefined') refused++ });
s.post('Profiler.stop', (error) => { if (error) refused++ });
if (refused !== 3) throw new Error(`${refused} of 3 are refused`);
require('fs').writeSync(1, '\nok\n');
