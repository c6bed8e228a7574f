'use strict';
// What usual programs do with the modules that every process has. See rehearsal.rs.
const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const util = require('node:util');
const { EventEmitter, once } = require('node:events');
const { Readable, Transform, pipeline } = require('node:stream');

console.log('text', 1, 2n, true, null, undefined, Symbol('s'));
console.log({ a: [1, 'b', { c: null }], m: new Map([[1, 2]]), s: new Set([1]), d: new Date(0), f() {} });
console.log('%s %d %j %o', 'a', 1, {}, []);
console.error(new Error('told'));
console.warn([1.5, -0, Buffer.from('x'), /r/g, class A {}, new (class B { x = 1; })()]);
process.stdout.write('written\n');
util.format('%s', util.inspect(new Error('shown', { cause: 1 }), { depth: 1 }));

const file = path.join(__dirname, 'dir', 'file.txt');
fs.mkdirSync(path.dirname(file), { recursive: true });
fs.writeFileSync(file, 'line\n');
fs.appendFileSync(file, Buffer.from('more\n'));
assert.strictEqual(fs.readFileSync(file, 'utf8'), 'line\nmore\n');
fs.existsSync(file);
fs.statSync(file).isFile();
fs.readdirSync(__dirname, { withFileTypes: true });
try { fs.readFileSync('/absent'); } catch (error) { error.stack; }

Buffer.concat([Buffer.from('a'), Buffer.alloc(2)]).toString('hex');
new TextDecoder().decode(new TextEncoder().encode('x'));
const url = new URL('https://user@example.org:81/p?q=1#h');
url.searchParams.get('q');
url.href;
structuredClone({ a: 1 });

const emitter = new EventEmitter();
emitter.once('event', () => {});
emitter.on('event', () => {});
emitter.emit('event', 1);
emitter.removeAllListeners();

const controller = new AbortController();
controller.signal.addEventListener('abort', () => {});
controller.abort();

process.nextTick(() => {});
queueMicrotask(() => {});
setImmediate(() => {});
clearInterval(setInterval(() => {}, 1000));
clearTimeout(setTimeout(() => {}, 1000));
process.on('exit', () => {});
process.argv.slice(2);
process.env.HOME;
process.cwd();
process.memoryUsage();
performance.now();
require('./library.cjs');
require('./data.json');
require('./typed.ts');

async function main() {
  await new Promise((resolve) => setTimeout(resolve, 0));
  await fs.promises.readFile(file, 'utf8');
  fs.readFile(file, () => {});
  const { value } = await import('./module.mjs');
  assert.ok(value);
  const upper = new Transform({ transform(chunk, _, done) { done(null, String(chunk).toUpperCase()); } });
  await util.promisify(pipeline)(Readable.from(['a', 'b']), upper, async (source) => {
    for await (const chunk of source) String(chunk);
  });
  await once(process.nextTick(() => emitter.emit('end')) ?? emitter, 'end');
  await Promise.reject(new TypeError('caught')).catch(() => {});
}

main().then(() => console.log('done'));
