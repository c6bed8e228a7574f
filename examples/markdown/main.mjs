// Renders this repository's README with the npm library `marked`, inside a guest that has two files and no more.
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { NodeRuntime } from '../../dist/index.js';

const here = import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname);
const library = path.dirname(createRequire(import.meta.url).resolve('marked/package.json'));

/** The library as it was published, at the path where the guest's own resolution finds it. */
async function libraryFiles() {
  const names = ['package.json', 'lib/marked.esm.js'];
  const entries = names.map(async (name) => [
    `/workspace/node_modules/marked/${name}`,
    await readFile(path.join(library, name), 'utf8'),
  ]);
  return Object.fromEntries(await Promise.all(entries));
}

const runtime = await NodeRuntime.create({
  files: { ...(await libraryFiles()), '/workspace/README.md': await readFile(path.join(here, '../../README.md'), 'utf8') },
  memoryLimit: 64,
  cpuTimeLimitMs: 5_000,
});
const program = await readFile(path.join(here, 'guest.ts'), 'utf8');
const result = await runtime.run(program, {
  filePath: '/workspace/guest.ts',
  argv: ['/workspace/README.md', '/tmp/out.html'],
});
process.stdout.write(result.stdout ?? '');
if (result.reason !== 'exit' || result.code !== 0) {
  process.stderr.write(result.stderr ?? '');
  console.error(`the guest failed: ${result.reason}, ${result.errorMessage}`);
  process.exit(1);
}
const { html, counts } = result.exports;
const output = path.join(here, 'out', 'README.html');
await mkdir(path.dirname(output), { recursive: true });
await writeFile(output, html);
const { cpuMs, wallMs, peakHeapBytes } = result.usage;
console.log(`\n${counts.get('headings')} headings, ${counts.get('bytes')} bytes of HTML, in ${path.relative(process.cwd(), output)}`);
console.log(`CPU ${cpuMs.toFixed(1)} ms, wall ${wallMs.toFixed(1)} ms, heap ${(peakHeapBytes / 2 ** 20).toFixed(1)} MB at most`);

// The same runtime goes on after a guest that would not stop.
const spin = await runtime.exec('for (;;);', { cpuTimeLimitMs: 50 });
console.log(`\na guest that spins: ${spin.reason}, exit code ${spin.code} (${spin.errorMessage})`);
const denied = await runtime.exec(`
  try { require('node:fs').readFileSync('/etc/shadow') } catch (error) { console.log('host files:', error.code) }
  console.log('environment:', Object.keys(process.env).length, 'variables');
`);
process.stdout.write(denied.stdout ?? '');
await runtime.dispose();
