#!/usr/bin/env node
// Runs Node's own tests in guests and prints pass, fail and skip per group and in all.
//
//   npm run conformance -- --suite <folder with test/> [--filter <glob>] [--stage 1] [--json <out>] [--jobs n]
//                          [--update] [--check] [--verbose]
//
// Each test runs in its own VM, from one shared image of the suite, with the flags of its own `// Flags:` line.
// expectations.json lists each test: those that pass, those that fail with the reason, those whose result says nothing.
// `--check` compares with it: a listed pass that fails is an error, and so are a listed failure that passes, a test that
// is not listed, and a failure without a reason. `--update` writes it; whoever lists a new failure writes the reason.
// Tests are never changed and never special-cased by name.

import { existsSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { compare, merge } from './expectations.mjs';
import { groupOf, stageOf } from './groups.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const EXPECTATIONS = path.join(here, 'expectations.json');
const FOLDERS = ['parallel', 'sequential', 'es-module', 'module-hooks', 'async-hooks', 'pseudo-tty'];
const GUEST_ROOT = '/suite';
const TEST_MS = 20_000;

const { values: options } = parseArgs({
  options: {
    suite: { type: 'string' },
    filter: { type: 'string' },
    stage: { type: 'string' },
    json: { type: 'string' },
    jobs: { type: 'string' },
    update: { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
    verbose: { type: 'boolean', default: false },
  },
});

function fail(message) {
  console.error(message);
  process.exit(2);
}

/** The folder that holds `test/`, whichever of the two was named. */
function findSuite(folder) {
  if (folder === undefined) fail('conformance: --suite <folder> is missing: an unpacked tree with test/common');
  for (const candidate of [folder, path.join(folder, 'test'), path.dirname(folder)]) {
    const root = path.basename(candidate) === 'test' ? path.dirname(candidate) : candidate;
    if (existsSync(path.join(root, 'test', 'common', 'index.js'))) return path.resolve(root);
  }
  return fail(`conformance: no test/common below ${folder}`);
}

/** Every file of the suite as [guest path, bytes, permissions]. */
function* entries(root, folder = root) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const host = path.join(folder, entry.name);
    const guest = path.posix.join(GUEST_ROOT, path.relative(root, host));
    if (entry.isDirectory()) yield* entries(root, host);
    else if (entry.isFile() || (entry.isSymbolicLink() && statSync(host, { throwIfNoEntry: false })?.isFile())) {
      yield [guest, readFileSync(host), statSync(host).mode & 0o777];
    }
  }
}

function globToRegExp(glob) {
  const source = glob.replace(/[.+^${}()|[\]\\]/g, '\\$&').replace(/\*/g, '.*').replace(/\?/g, '.');
  return new RegExp(`(^|/)${source}$`);
}

function listTests(root) {
  const wanted = options.filter === undefined ? /./ : globToRegExp(options.filter);
  const tests = [];
  for (const folder of FOLDERS) {
    const at = path.join(root, 'test', folder);
    if (!existsSync(at)) continue;
    for (const name of readdirSync(at)) {
      if (!/^test-.*\.(?:js|mjs|cjs|ts|mts)$/.test(name)) continue;
      const test = `${folder}/${name}`;
      if (!wanted.test(test) && !wanted.test(name)) continue;
      if (options.stage !== undefined && stageOf(groupOf(test)) !== Number(options.stage)) continue;
      tests.push(test);
    }
  }
  return tests.sort();
}

/** The flags of the test's `// Flags:` lines, as execArgv and as Node's options. A word after a flag is its value. */
function flagsOf(source) {
  const execArgv = [...source.matchAll(/^\/\/ Flags:(.*)$/gm)].flatMap(([, line]) => line.trim().split(/\s+/));
  const nodeOptions = [];
  for (const flag of execArgv) {
    if (!flag.startsWith('-')) {
      if (nodeOptions.length > 0) nodeOptions.at(-1)[1] = flag;
      continue;
    }
    const [name, ...value] = flag.split('=');
    const key = name.replaceAll('_', '-');
    if (value.length > 0) nodeOptions.push([key, value.join('=')]);
    else if (key.startsWith('--no-')) nodeOptions.push([`--${key.slice(5)}`, false]);
    else nodeOptions.push([key, true]);
  }
  return { execArgv, nodeOptions };
}

async function runTest(api, image, test, root) {
  const source = readFileSync(path.join(root, 'test', test), 'utf8');
  const outcome = await api.runInImage(image, {
    filePath: `${GUEST_ROOT}/test/${test}`,
    // As Node's own runner does: paths in flags begin there.
    cwd: GUEST_ROOT,
    // Tests take the first for a run by Node's own runner.
    env: { TEST_THREAD_ID: '0', NODE_TEST_DIR: '/tmp', PATH: '/usr/local/bin:/usr/bin:/bin', HOME: '/home/sandbox' },
    memoryLimit: 512,
    cpuTimeLimitMs: TEST_MS,
    wallTimeLimitMs: TEST_MS,
    timingMitigation: 'off',
    // These are written for one, and Node's own runner gives it.
    ...(test.startsWith('pseudo-tty/') ? { tty: { columns: 80, rows: 24 } } : {}),
    ...flagsOf(source),
  });
  const stdout = outcome.stdout ?? '';
  if (outcome.reason === 'exit' && outcome.code === 0) {
    return /^1\.\.0 # Skipped/m.test(stdout) ? { result: 'skip' } : { result: 'pass' };
  }
  // `node:test` tells its failures on stdout.
  const failures = stdout.split('\n').filter((line) => /^\s*(?:not ok |error: )/.test(line));
  const why = [...failures, ...(outcome.stderr ?? '').split('\n')].filter((line) => line.trim() !== '').slice(0, 8).join('\n');
  return { result: 'fail', why: `${outcome.reason} ${outcome.code} ${outcome.errorMessage ?? ''}\n${why}` };
}

function summarize(results) {
  const groups = new Map();
  for (const [test, { result }] of results) {
    const group = groupOf(test);
    const counts = groups.get(group) ?? { stage: stageOf(group), pass: 0, fail: 0, skip: 0 };
    counts[result] += 1;
    groups.set(group, counts);
  }
  return groups;
}

function percent({ pass, fail: failed }) {
  return pass + failed === 0 ? '-' : `${((100 * pass) / (pass + failed)).toFixed(1)} %`;
}

function print(groups) {
  const totals = new Map();
  for (const [group, counts] of [...groups].sort()) {
    if (options.verbose) console.log(`${group}: ${counts.pass} pass, ${counts.fail} fail, ${counts.skip} skip`);
    for (const key of [`stage ${counts.stage}`, 'all']) {
      const total = totals.get(key) ?? { pass: 0, fail: 0, skip: 0 };
      for (const kind of ['pass', 'fail', 'skip']) total[kind] += counts[kind];
      totals.set(key, total);
    }
  }
  for (const [key, total] of [...totals].sort()) {
    console.log(`${key}: ${total.pass} pass, ${total.fail} fail, ${total.skip} skip (${percent(total)})`);
  }
}

const root = findSuite(options.suite);
const api = await import('../dist/internal.js').catch((error) => fail(`conformance: build first (npm run build): ${error.message}`));
const image = api.createImage([...entries(root)]);
const tests = listTests(root);
const results = new Map();
const queue = [...tests];
const jobs = Number(options.jobs ?? availableParallelism());
await Promise.all(Array.from({ length: jobs }, async () => {
  for (let test = queue.shift(); test !== undefined; test = queue.shift()) {
    const result = await runTest(api, image, test, root);
    results.set(test, result);
    if (options.verbose && result.result === 'fail') console.log(`FAIL ${test}\n    ${result.why.replaceAll('\n', '\n    ')}`);
  }
}));
const sorted = new Map([...results].sort());
const groups = summarize(sorted);
print(groups);
if (options.json !== undefined) {
  const json = { tests: Object.fromEntries(sorted), groups: Object.fromEntries([...groups].sort()) };
  writeFileSync(options.json, `${JSON.stringify(json, null, 1)}\n`);
}
if (options.update || options.check) {
  let list = existsSync(EXPECTATIONS) ? JSON.parse(readFileSync(EXPECTATIONS, 'utf8')) : {};
  if (options.update) {
    list = merge(list, sorted);
    writeFileSync(EXPECTATIONS, `${JSON.stringify(list, null, 1)}\n`);
  }
  if (options.check) {
    const problems = compare(list, sorted, { complete: options.filter === undefined && options.stage === undefined });
    for (const problem of problems) console.error(problem);
    if (problems.length > 0) process.exitCode = 1;
  }
}
