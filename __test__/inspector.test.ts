import { describe, expect, test } from "vitest";
import { make } from "./support.js";

/** What a program exports. */
async function exported(code: string, options?: Parameters<typeof make>[0]): Promise<unknown> {
  const runtime = await make(options);
  const result = await runtime.run(code);
  if (result.reason !== "exit" || result.code !== 0) throw new Error(`${result.reason}: ${result.errorMessage}\n${result.stderr}`);
  return result.exports;
}

const SESSION = `const inspector = require('node:inspector');
  const session = new inspector.Session();
  session.connect();
  const post = (method, params) => { let answer; session.post(method, params, (error, result) => (answer = error ? error.message : result)); return answer };`;

describe("a session", () => {
  test("evaluates, and says what it cannot do", async () => {
    const code = `${SESSION} module.exports = [
      post('Runtime.evaluate', { expression: '[1, { a: "ü" }]', returnByValue: true }).result.value,
      post('Runtime.evaluate', { expression: 'missing' }).exceptionDetails.exception.className,
      post('Runtime.missing'),
      post('Runtime.queryObjects', { prototypeObjectId: '1' }),
      process.features.inspector, inspector.url(), typeof inspector.console.log,
    ]`;
    expect(await exported(code)).toEqual([
      [1, { a: "ü" }],
      "ReferenceError",
      "Inspector error -32601: 'Runtime.missing' wasn't found",
      "Inspector error -32000: Runtime.queryObjects is not available in this runtime",
      true,
      undefined,
      "function",
    ]);
  });

  test("of promises", async () => {
    const code = `import { Session } from 'node:inspector/promises';
      const session = new Session();
      session.connect();
      const { result } = await session.post('Runtime.evaluate', { expression: 'Promise.resolve(7)', awaitPromise: true });
      export const value = result.value;
      export const refused = await session.post('Foo.bar').catch((error) => error.code);
      session.disconnect();
      export const closed = await session.post('Runtime.enable').catch((error) => error.code);`;
    expect(await exported(code)).toEqual({ value: 7, refused: "ERR_INSPECTOR_COMMAND", closed: "ERR_INSPECTOR_NOT_CONNECTED" });
  });

  test("hears of pauses, scripts, consoles and contexts", async () => {
    const code = `${SESSION} const heard = [];
      session.on('Debugger.paused', ({ params }) => {
        const { result } = post('Debugger.evaluateOnCallFrame', { callFrameId: params.callFrames[0].callFrameId, expression: 'x * 2' });
        heard.push([params.callFrames[0].functionName, result.value]);
      });
      session.on('Debugger.scriptParsed', ({ params }) => params.url.includes('named') && heard.push(params.url));
      session.on('Runtime.consoleAPICalled', ({ params }) => heard.push(params.args.map((arg) => arg.value)));
      session.on('Runtime.executionContextCreated', ({ params }) => heard.push(params.context.name.replace(/\\d+/, 'N')));
      post('Runtime.enable');
      post('Debugger.enable');
      (function f(x) { debugger; })(21);
      (0, eval)('1 //# sourceURL=named.js');
      console.log('a', 1);
      require('vm').createContext({});
      session.disconnect();
      console.log('nobody hears');
      module.exports = heard;`;
    expect(await exported(code)).toEqual(["node[N]", ["f", 42], "named.js", ["a", 1], "VM Context N"]);
  });

  test("a worker has its own", async () => {
    const code = `const { Worker } = require('node:worker_threads');
      const program = ${JSON.stringify(`${SESSION} globalThis.mine = 5; let refused; const { Session } = inspector;
        try { new Session().connectToMainThread() } catch (error) { refused = error.code }
        require('node:worker_threads').parentPort.postMessage([post('Runtime.evaluate', { expression: 'globalThis.mine' }).result.value, refused]);`)};
      ${SESSION}
      const worker = new Worker(program, { eval: true });
      module.exports = new Promise((resolve, reject) => {
        worker.on('error', reject);
        worker.on('message', (said) => resolve([said, post('Runtime.evaluate', { expression: 'typeof mine' }).result.value]));
      });`;
    expect(await exported(code)).toEqual([[5, "ERR_FEATURE_UNAVAILABLE_ON_PLATFORM"], "undefined"]);
  });

  test("opens no port", async () => {
    const code = `const inspector = require('node:inspector'); const codes = [];
      for (const use of [() => inspector.open(0), () => inspector.open(9229, '127.0.0.1', true), () => inspector.waitForDebugger()]) {
        try { use() } catch (error) { codes.push(error.code) }
      }
      module.exports = codes;`;
    expect(await exported(code)).toEqual(["ERR_FEATURE_UNAVAILABLE_ON_PLATFORM", "ERR_FEATURE_UNAVAILABLE_ON_PLATFORM", "ERR_INSPECTOR_NOT_ACTIVE"]);
  });

  test("an evaluation ends in time, and the program goes on", async () => {
    const code = `${SESSION}
      const details = post('Runtime.evaluate', { expression: 'for (;;);', timeout: 20 });
      module.exports = [details, post('Runtime.evaluate', { expression: '1 + 1' }).result.value];`;
    expect(await exported(code)).toEqual(["Inspector error -32000: Execution was terminated", 2]);
  });

  test("the CPU limit holds behind it", async () => {
    const runtime = await make({ cpuTimeLimitMs: 150 });
    for (const loop of ["post('Runtime.evaluate', { expression: 'for (;;);' })", "post('Debugger.enable'); session.on('Debugger.paused', () => { for (;;); }); debugger;"]) {
      expect(await runtime.exec(`${SESSION} try { ${loop} } finally { console.log('revived') }`)).toMatchObject({ reason: "cpu", stdout: "" });
    }
  });
});

describe("profiles", () => {
  test("CPU profiles name functions where clocks run, and are refused where they do not", async () => {
    const code = `${SESSION} post('Profiler.enable'); post('Profiler.setSamplingInterval', { interval: 500 });
      const refused = post('Profiler.start');
      function busy() { let n = 0; const end = Date.now() + 200; while (Date.now() < end) n += Math.sqrt(n + 1); return n }
      if (typeof refused !== 'string') busy();
      const { profile } = typeof refused === 'string' ? {} : post('Profiler.stop');
      module.exports = profile ? [profile.nodes.some((node) => node.callFrame.functionName === 'busy' && node.hitCount > 3), profile.samples.length === profile.timeDeltas.length, profile.startTime < 2e9] : refused;`;
    expect(await exported(code, { timingMitigation: "off" })).toEqual([true, true, true]);
    expect(await exported(code)).toContain("timingMitigation");
  });

  test("heap profiles name who allocates", async () => {
    const code = `${SESSION} post('HeapProfiler.enable'); post('HeapProfiler.startSampling', { samplingInterval: 1024 });
      const kept = []; function fill() { for (let i = 0; i < 1e5; i++) kept.push({ list: new Array(10).fill(i) }) } fill();
      module.exports = JSON.stringify(post('HeapProfiler.stopSampling').profile).includes('"functionName":"fill"');`;
    expect(await exported(code)).toBe(true);
  });

  test("precise coverage counts calls and blocks", async () => {
    const code = `${SESSION} post('Profiler.enable'); post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
      (0, eval)('function covered(x) { if (x) { return 1 } return 2 } covered(1); covered(1) //# sourceURL=covered.js');
      const { result, timestamp } = post('Profiler.takePreciseCoverage');
      const { functions } = result.find((script) => script.url === 'covered.js');
      module.exports = [functions.find((one) => one.functionName === 'covered').ranges.map((range) => range.count), timestamp < 1100];`;
    expect(await exported(code)).toEqual([[2, 0], true]);
  });
});

describe("files", () => {
  const FILES = { "/workspace/lib.js": "exports.used = (x) => {\n  if (x) {\n    return 1;\n  }\n  return 2;\n};\nexports.unused = () => {\n  return 3;\n};\n" };

  async function child(args: string[], env: Record<string, string> = {}, options?: Parameters<typeof make>[0]): Promise<{ stdout: string; files: Record<string, string> }> {
    const runtime = await make(options);
    for (const [path, text] of Object.entries(FILES)) await runtime.writeFile(path, text);
    await runtime.writeFile("/workspace/main.js", "require('./lib.js').used(1); require('node:v8').takeCoverage(); require('node:v8').takeCoverage(); process.on('exit', () => { let n = 0; while (n < 1e6) n++; globalThis.kept = Array.from({ length: 1e5 }, () => [1]) });");
    await runtime.writeFile("/workspace/main.test.js", "require('node:test').test('x', () => { require('node:assert').strictEqual(require('./lib.js').used(1), 1) });");
    const code = `const { spawnSync } = require('node:child_process'), fs = require('node:fs');
      const { status, stdout, stderr } = spawnSync('node', ${JSON.stringify(args)}, { encoding: 'utf8', env: { ...process.env, ...${JSON.stringify(env)} } });
      if (status !== 0) throw new Error(stdout + stderr);
      const files = {};
      for (const file of fs.existsSync('/workspace/out') ? fs.readdirSync('/workspace/out') : []) files[file] = fs.readFileSync('/workspace/out/' + file, 'utf8');
      module.exports = { stdout, files };`;
    const result = await runtime.run<{ stdout: string; files: Record<string, string> }>(code);
    if (result.exports === undefined) throw new Error(`${result.errorMessage}\n${result.stderr}`);
    return result.exports;
  }

  test("NODE_V8_COVERAGE and v8.takeCoverage() write one each time", async () => {
    const { files } = await child(["main.js"], { NODE_V8_COVERAGE: "/workspace/out" });
    expect(Object.keys(files)).toHaveLength(3);
    for (const name of Object.keys(files)) expect(name).toMatch(/^coverage-\d+-\d{13}-0\.json$/);
    const [first] = Object.keys(files).sort();
    const { result } = JSON.parse(files[first!]!) as { result: { url: string; functions: { functionName: string; ranges: { count: number }[] }[] }[] };
    const lib = result.find((script) => script.url === "file:///workspace/lib.js");
    expect(lib?.functions.map((one) => [one.functionName, one.ranges.map((range) => range.count)])).toEqual([
      ["", [1]],
      ["exports.used", [1, 0]],
      ["exports.unused", [0]],
    ]);
  });

  test("--experimental-test-coverage reports what Node reports", async () => {
    const { stdout } = await child(["--test", "--experimental-test-coverage", "main.test.js"]);
    expect(stdout).toMatch(/lib\.js +\| +77\.78 \| +66\.67 \| +50\.00 \| 5 8/);
  });

  test("--heap-prof and --cpu-prof", async () => {
    const heap = await child(["--heap-prof", "--heap-prof-dir=out", "--heap-prof-name=a.heapprofile", "main.js"]);
    expect(JSON.parse(heap.files["a.heapprofile"] ?? "{}")).toHaveProperty("head.children");
    const cpu = await child(["--cpu-prof", "--cpu-prof-dir=out", "main.js"], {}, { timingMitigation: "off" });
    const [name, text] = Object.entries(cpu.files)[0] ?? ["", "{}"];
    expect(name).toMatch(/^CPU\.\d{8}\.\d{6}\.\d+\.0\.001\.cpuprofile$/);
    expect(JSON.parse(text)).toHaveProperty("nodes.0.callFrame.functionName", "(root)");
    expect((await child(["--cpu-prof", "--cpu-prof-dir=out", "main.js"])).files).toEqual({});
  });
});
