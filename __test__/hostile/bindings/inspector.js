// Sessions that end while V8 works for them, hostile messages, and the bare binding.
// @outcome ok
// @options {"cpuTimeLimitMs": 8000, "memoryLimit": 128}
process.on('uncaughtException', () => {});
process.on('warning', () => {});
process.removeAllListeners('warning');
const inspector = require('inspector'), vm = require('vm'), { Session } = inspector;
const domains = ['Runtime', 'Debugger', 'Profiler', 'HeapProfiler', 'Console', 'Schema', 'NodeWorker', 'NodeTracing', 'NodeRuntime', 'Network'];
// Every notification ends its session and starts another one.
for (const [event, cause] of [
  ['Debugger.paused', () => { debugger; }],
  ['Debugger.scriptParsed', () => eval('1')],
  ['Debugger.scriptFailedToParse', () => eval('(')],
  ['Debugger.resumed', () => { debugger; }],
  ['Runtime.consoleAPICalled', () => console.error.call(console, '')],
  ['Runtime.executionContextCreated', () => vm.createContext({})],
  ['Runtime.bindingCalled', () => globalThis.bound?.('x')],
]) {
  for (const more of [1, 3]) {
    const sessions = Array.from({ length: more }, () => new Session());
    for (const s of sessions) {
      s.connect();
      s.on(event, () => { for (const t of sessions) t.disconnect(); const u = new Session(); u.connect(); u.post('Debugger.enable'); u.disconnect() });
      for (const [method, params] of [['Runtime.enable'], ['Runtime.addBinding', { name: 'bound' }], ['Debugger.enable']]) try { s.post(method, params) } catch {}
    }
    try { cause() } catch {}
    for (const s of sessions) s.disconnect();
  }
}
// A getter that V8's console runs ends its session.
{
  const s = new Session(); s.connect(); s.post('Runtime.enable');
  const e = new Error('x');
  Object.defineProperty(e, 'stack', { get() { s.disconnect(); return 'y' } });
  inspector.console.log(e); inspector.console.table([e]); inspector.console.dir(e);
  inspector.console.log({ toString() { s.disconnect() } }, new Proxy([], { get() { s.disconnect() } }));
}
// An answer ends its session, from inside an evaluation, too.
{
  const s = new Session(); s.connect();
  globalThis.end = () => s.disconnect();
  s.post('Runtime.evaluate', { expression: 'end(); ({ a: [1] })', generatePreview: true, awaitPromise: true }, () => {});
}
for (let i = 0; i < 300; i++) { const s = new Session(); s.connect(); s.post('Runtime.evaluate', { expression: '({})' }, () => s.disconnect()) }
// Deep recursion.
{
  const s = new Session(); s.connect();
  let deep = {}; for (let i = 0; i < 1e5; i++) deep = { deep }; globalThis.deep = deep;
  s.post('Runtime.evaluate', { expression: 'deep', returnByValue: true });
  s.post('Runtime.evaluate', { expression: 'deep', serializationOptions: { serialization: 'deep', maxDepth: 2 ** 31 - 1 } });
  s.post('Runtime.evaluate', { expression: 'deep', generatePreview: true });
  (function dive() { try { dive() } catch { s.post('Runtime.evaluate', { expression: 'deep', returnByValue: true }) } })();
  let n = 0; const again = () => { if (n++ < 3000) s.post('Runtime.evaluate', { expression: '1' }, again) }; again();
  s.disconnect();
}
// Hostile messages, through a session's own connection.
{
  const s = new Session(); s.connect();
  for (const domain of domains) for (const method of ['enable', 'disable', 'start', 'stop', 'x'.repeat(1e5), '', '\0', '__proto__', 'setScriptSource', 'restartFrame', 'queryObjects', 'takeHeapSnapshot', 'getObjectByHeapObjectId', 'terminateExecution', 'setReturnValue', 'getHeapUsage', 'startTrackingHeapObjects', 'setInstrumentationBreakpoint'])
    for (const params of [undefined, {}, { objectId: '1.2.3' }, { objectId: 'x', scriptId: '-1', url: '\ud800', lineNumber: -1, columnNumber: 2 ** 31, interval: 0 }, { samplingInterval: -1 }, { samplingInterval: 1e400 }, { callCount: 1 }])
      s.post(`${domain}.${method}`, params, () => {});
  for (const [method, params] of [
    ['Runtime.getProperties', { objectId: '{"injectedScriptId":1,"id":99}' }], ['Runtime.releaseObject', { objectId: '0.0.0' }],
    ['Debugger.setBreakpoint', { location: { scriptId: '1', lineNumber: 2 ** 31 - 1, columnNumber: 2 ** 31 - 1 } }],
    ['Debugger.continueToLocation', { location: { scriptId: '999999', lineNumber: 0 } }], ['Debugger.stepInto'], ['Debugger.resume', { terminateOnResume: true }],
    ['Debugger.getPossibleBreakpoints', { start: { scriptId: '1', lineNumber: -5 }, end: { scriptId: '2', lineNumber: 2 ** 31 - 1 } }],
    ['Debugger.setBlackboxPatterns', { patterns: ['(((', '\\'] }], ['Debugger.setBlackboxedRanges', { scriptId: '1', positions: [{ lineNumber: -1, columnNumber: -1 }] }],
    ['Debugger.evaluateOnCallFrame', { callFrameId: '1.1.1', expression: '1' }], ['Debugger.getStackTrace', { stackTraceId: { id: '9', debuggerId: 'x.y' } }],
    ['Runtime.callFunctionOn', { functionDeclaration: ')', executionContextId: 1, arguments: [{ objectId: 'x' }, { unserializableValue: 'eval(1)' }, { value: { a: 1 } }] }],
    ['Runtime.awaitPromise', { promiseObjectId: '1.1.1' }], ['Runtime.runScript', { scriptId: '77' }], ['Runtime.globalLexicalScopeNames', { executionContextId: 777 }],
    ['Runtime.evaluate', { expression: '1', contextId: -1 }], ['Runtime.evaluate', { expression: '1', uniqueContextId: '1.1' }], ['Runtime.evaluate', { expression: 'process.exit', throwOnSideEffect: true }],
    ['HeapProfiler.getSamplingProfile'], ['HeapProfiler.stopSampling'], ['Profiler.takePreciseCoverage'], ['Profiler.stopPreciseCoverage'], ['Profiler.getBestEffortCoverage'],
  ]) s.post(method, params, () => {});
  s.disconnect();
}
setTimeout(() => { require('fs').writeSync(1, '\nok\n'); process.reallyExit(0) }, 50);
