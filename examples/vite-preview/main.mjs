// Builds a React app with Vite inside a guest, shows the result to Chromium, then edits the app while the dev server of a
// guest shows it.
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { findChromium, withPage } from './browser.mjs';
import { createVm, vite } from './vm.mjs';

const out = path.join(path.dirname(fileURLToPath(import.meta.url)), 'out');
const output = {
  onStdout: (bytes) => process.stdout.write(bytes),
  onStderr: (bytes) => process.stderr.write(bytes),
};
const waiting = { timeoutMs: 120_000 };

const runtime = await createVm();
const build = await vite(runtime, ['build'], output);
const { code, usage } = await build.wait();
if (code !== 0) throw new Error(`vite build ended with ${code}`);
console.log(`built in the guest; CPU ${usage.cpuMs.toFixed(0)} ms, heap ${(usage.peakHeapBytes / 2 ** 20).toFixed(0)} MB`);

const preview = await vite(runtime, ['preview', '--port', '4173', '--strictPort'], output);
await runtime.waitForListener({ port: 4173 }, waiting);
const page = await runtime.fetch(4173, { path: '/' });
console.log(`GET /: ${page.status} ${/<title>(.*)<\/title>/.exec(page.text())?.[1]}`);

const dev = await vite(runtime, ['--port', '5173', '--strictPort'], output);
await runtime.waitForListener({ port: 5173 }, waiting);

if (findChromium() === undefined) {
  console.log('chromium is not installed: no browser looks at the pages');
} else {
  await mkdir(out, { recursive: true });
  const built = await runtime.expose(4173);
  await withPage(built.url, async (tab) => {
    await tab.click('button');
    await tab.getByText('clicked 1 times').waitFor();
    await tab.screenshot({ path: path.join(out, 'preview.png') });
    console.log(`${built.url} in Chromium: ${await tab.innerText('h1')}, ${await tab.innerText('button')}`);
  });

  const served = await runtime.expose(5173);
  await withPage(served.url, async (tab) => {
    await tab.click('button');
    await tab.getByText('clicked 1 times').waitFor();
    const file = '/workspace/src/App.tsx';
    const source = await runtime.fs.readTextFile(file);
    await runtime.fs.writeFile(file, source.replace('Hello from a sandbox', 'Edited while it runs'));
    await tab.getByText('Edited while it runs').waitFor();
    await tab.screenshot({ path: path.join(out, 'edited.png') });
    console.log(`${served.url} in Chromium: ${await tab.innerText('h1')}, still ${await tab.innerText('button')}`);
  });
  console.log(`screenshots are in ${path.relative(process.cwd(), out)}`);
}
dev.kill();
preview.kill();
await Promise.all([dev.wait(), preview.wait()]);
await runtime.dispose();
