// Loops behind the inspector: none may outlive the CPU limit, and no withdrawn termination may revive the guest.
// @outcome cpu | memory | error
// @options {"memoryLimit": 128, "cpuTimeLimitMs": 300}
// @within 9000
// @each s.post('Runtime.evaluate', { expression: 'for(;;);' }); for (;;);
// @each s.post('Runtime.evaluate', { expression: 'for(;;);', timeout: 1e9 }); for (;;);
// @each for (;;) s.post('Runtime.evaluate', { expression: 'for(;;);', timeout: 1 })
// @each s.post('Runtime.evaluate', { expression: 'Promise.resolve().then(function f() { return Promise.resolve().then(f) })', awaitPromise: true })
// @each s.post('Debugger.enable'); s.on('Debugger.paused', () => { for (;;); }); debugger;
// @each s.post('Debugger.enable'); s.on('Debugger.paused', () => s.post('Debugger.stepInto')); debugger; for (;;) Math.max(1, 2);
// @each s.post('Debugger.enable'); s.on('Debugger.paused', (m) => { for (;;) s.post('Debugger.evaluateOnCallFrame', { callFrameId: m.params.callFrames[0].callFrameId, expression: '1' }) }); debugger;
// @each s.post('Debugger.enable'); s.on('Debugger.scriptParsed', () => eval('1')); eval('2'); for (;;) eval('3');
// @each s.post('Runtime.enable'); s.on('Runtime.consoleAPICalled', () => console.log('again')); for (;;) console.log('x')
// @each s.post('Runtime.enable'); s.on('Runtime.consoleAPICalled', () => inspector.console.log('again')); inspector.console.log('x'); for (;;);
// @each s.post('Runtime.enable'); const e = new Error('x'); Object.defineProperty(e, 'stack', { get() { for (;;); } }); inspector.console.log(e); for (;;);
// @each s.post('Runtime.evaluate', { expression: 'debugger;for(;;);' }); for (;;);
// @each s.post('Debugger.enable'); s.post('Debugger.pause'); for (;;);
// @each s.post('Debugger.enable'); const vm = require('vm'); try { vm.runInNewContext('for(;;) post()', { post() { s.post('Runtime.evaluate', { expression: 'for(;;);' }) } }, { timeout: 5 }) } catch {} for (;;);
// @each s.post('Debugger.enable'); s.post('Runtime.evaluate', { expression: '1\n'.repeat(1e6), sourceURL: 'a' }); s.on('Debugger.scriptParsed', (m) => s.post('Debugger.searchInContent', { scriptId: m.params.scriptId, query: '(x+x+)+y', isRegex: true })); (0, eval)('/*' + 'x'.repeat(1e5) + '*/'); for (;;);
// @each s.post('Runtime.evaluate', { expression: 'new Proxy({}, { ownKeys() { for (;;); } })', generatePreview: true, returnByValue: true }); for (;;);
// @each s.post('Runtime.callFunctionOn', { functionDeclaration: 'function f() { for (;;); }', executionContextId: 1 }); for (;;);
// @each s.post('HeapProfiler.enable'); for (;;) s.post('HeapProfiler.collectGarbage')
const inspector = require('inspector');
const { Session } = inspector;
const s = new Session();
s.connect();
EACH
