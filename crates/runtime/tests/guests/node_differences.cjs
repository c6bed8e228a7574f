// What Node 22.23.3 does, found by running the same programs in both.
'use strict';
const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const vm = require('node:vm');
const zlib = require('node:zlib');

process.chdir('/tmp');
const node = (words, options) => spawnSync(process.execPath, words, { encoding: 'utf8', ...options });
const nodeWith = (text, ...words) => node(words, { env: { ...process.env, NODE_OPTIONS: text } });

// Constants can be neither changed nor deleted, and stand in Node's order.
for (const constants of [fs.constants, zlib.constants, os.constants.errno, require('node:crypto').constants]) {
  const [name] = Object.keys(constants);
  const { writable, configurable } = Object.getOwnPropertyDescriptor(constants, name);
  assert.deepStrictEqual([writable, configurable], [false, false], name);
}
assert.deepStrictEqual(Object.keys(os.constants.signals).slice(0, 4), ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGILL']);
assert.strictEqual(Object.keys(require('node:async_hooks').asyncWrapProviders)[0], 'NONE');

// A piece that goes past `maxBuffer` is kept whole; 0 is no limit.
const flood = node(['-e', 'console.log("a".repeat(1000))'], { maxBuffer: 10 });
assert.strictEqual(flood.error.code, 'ENOBUFS');
assert.strictEqual(flood.stdout.length, 1001);
assert.strictEqual(node(['-p', '1'], { maxBuffer: 0 }).stdout, '1\n');
assert.deepStrictEqual(Object.keys(node(['-p', '1'])), ['status', 'signal', 'output', 'pid', 'stdout', 'stderr']);

// What is no error tells the line that threw it.
assert.match(node(['-e', 'throw 5']).stderr, /^\n\[eval\]:1\nthrow 5\n\^/);
assert.throws(() => vm.runInNewContext('throw new TypeError("x")', {}, 'a.js'), /^TypeError: x$/m);

for (const [words, status, text] of [
  [['--build-snapshot'], 9, /^--build-snapshot must be used with an entry point script\.\nUsage: node --build-snapshot \/path\/to\/entry\.js\n$/],
  [['--env-file=none', '-p', '1'], 9, /^\/usr\/local\/bin\/node: none: not found\n$/],
  [['--env-file-if-exists=none', '-p', '1'], 0, /^none not found\. Continuing without it\.\n$/],
]) {
  const child = node(words);
  assert.strictEqual(child.status, status, words.join(' '));
  assert.match(child.stderr, text);
}
assert.match(nodeWith('--nope', '-p', '1').stderr, /: --nope is not allowed in NODE_OPTIONS\n$/);
assert.strictEqual(nodeWith('a', '-p', '1').stdout, '1\n');
const completion = node(['--completion-bash']).stdout;
assert.match(completion, /^_node_complete\(\) \{\n[^]*-W '--[^']* --eval [^']*'[^]*\n\}\ncomplete [^\n]* node node_g\n$/);

// `--disable-proto`, in contexts and workers too.
const probes = `
  const probe = '({}).__proto__';
  const outcome = (run) => { try { return String(run() === undefined); } catch (error) { return error.code; } };
  console.log(outcome(() => ({}).__proto__), outcome(() => vm.runInNewContext(probe)));
  new worker_threads.Worker('require("worker_threads").parentPort.postMessage(Object.hasOwn(Object.prototype, "__proto__"))',
    { eval: true }).on('message', console.log);`;
assert.strictEqual(node(['--disable-proto=delete', '-e', probes]).stdout, 'true true\nfalse\n');
assert.strictEqual(node(['--disable-proto=throw', '-e', probes]).stdout, 'ERR_PROTO_ACCESS ERR_PROTO_ACCESS\ntrue\n');

// Reports are files of the guest's.
const report = node(['--report-on-signal', '--report-dir=/tmp', '--report-compact', '-p',
  '[process.report.reportOnSignal, process.report.writeReport("r.json")].join()']);
assert.strictEqual(report.stdout, 'true,r.json\n');
assert.strictEqual(report.stderr, '\nWriting Node.js report to file: r.json\nNode.js report completed\n');
const { header } = JSON.parse(fs.readFileSync('/tmp/r.json', 'utf8'));
assert.deepStrictEqual([header.event, header.trigger, header.filename], ['JavaScript API', 'API', 'r.json']);
const uncaught = node(['--report-uncaught-exception', '--report-filename=u.json', '-e', 'throw new Error("why")']);
assert.strictEqual(uncaught.status, 1);
assert.strictEqual(JSON.parse(fs.readFileSync('/tmp/u.json', 'utf8')).header.trigger, 'Exception');
assert.match(node(['-p', 'process.report.writeReport("none/r.json") === ""']).stderr, /^\nFailed to open Node\.js report file: none\/r\.json \(errno: 2\)\n$/);
assert.match(process.report.writeReport(), /^report\.\d{8}\.\d{6}\.\d+\.\d+\.001\.json$/);

process.env['a=b'] = 'x';
process.env[''] = 'x';
assert.deepStrictEqual([process.env['a=b'], process.env['']], [undefined, undefined]);
assert.throws(() => process._linkedBinding('x'), { message: 'No such binding was linked: x', code: 'ERR_INVALID_MODULE' });
assert.match(process.release.sourceUrl, /^https:\/\/nodejs\.org\/download\/release\/v22\.23\.3\//);

const deflate = zlib.createDeflate();
deflate.write('x');
assert.throws(() => deflate.reset(), { message: 'Cannot reset zlib stream while a write is in progress' });

// Addresses in `inet_aton`'s other forms.
const { lookup } = require('node:dns');
for (const name of ['127.1', '0x7f.1', '0177.0.0.1', '2130706433']) {
  lookup(name, (error, address) => assert.deepStrictEqual([error, address], [null, '127.0.0.1'], name));
}
assert.throws(() => new (require('node:dns').Resolver)().setLocalAddress('x'), TypeError);

// `--trace-env` tells of each use; hints to the optimizer are taken from strings.
const traced = node(['--trace-env', '-e', 'process.env.FOO = process.env.BAR; "BAZ" in process.env; delete process.env.FOO']);
for (const line of ['get "NODE_ICU_DATA"', 'get "BAR"', 'set "FOO"', 'query "BAZ"', 'delete "FOO"']) {
  assert.ok(traced.stderr.includes(`[--trace-env] ${line}\n`), line);
}
const natives = 'function f() { return 1 } eval("%PrepareFunctionForOptimization(f)"); eval("%OptimizeFunctionOnNextCall(f)"); f()';
assert.strictEqual(node(['--allow-natives-syntax', '-p', natives]).stdout, '1\n');
assert.notStrictEqual(node(['-p', natives]).status, 0);

// A wrong place for `await` shows only as what comes after it: such programs are tried as modules too.
for (const program of ['(() => {})(await "");', '[await ""]', 'if (await 0) {}']) {
  assert.deepStrictEqual([node(['-e', program]).status, node(['-e', program]).stderr], [0, ''], program);
}
assert.match(node(['-e', 'f(a b)']).stderr, /SyntaxError: missing \) after argument list/);

// Warnings that are off do not tell of an unsettled await.
const unsettled = ['--input-type=module', '-e', 'await new Promise(() => {});'];
assert.match(node(unsettled).stderr, /^Warning: Detected unsettled top-level await at /);
assert.deepStrictEqual([node(['--no-warnings', ...unsettled]).status, node(['--no-warnings', ...unsettled]).stderr], [13, '']);

// A report leaves out what it is to leave out, and knows its thread.
process.report.excludeEnv = true;
assert.strictEqual('environmentVariables' in process.report.getReport(), false);
process.report.excludeEnv = false;
const { Worker } = require('node:worker_threads');
const reporter = new Worker('require("worker_threads").parentPort.postMessage(process.report.getReport().header.threadId)', { eval: true });
reporter.on('message', (id) => assert.strictEqual(id, reporter.threadId));

// What the parent sees of a worker's loop has the worker's clock.
const idle = new Worker('setTimeout(() => {}, 200)', { eval: true });
idle.on('online', () => setTimeout(() => {
  const { idle: slept, active } = idle.performance.eventLoopUtilization();
  assert(slept + active < 60_000, `${slept} ms idle, ${active} ms active`);
  idle.terminate();
}, 50));

// No guest is a single executable application.
const sea = require('node:sea');
assert.strictEqual(sea.isSea(), false);
assert.throws(() => sea.getAsset('a'), { code: 'ERR_NOT_IN_SINGLE_EXECUTABLE_APPLICATION' });
