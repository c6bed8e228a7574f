import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

// Its WebAssembly runs in a child, which is found by its name.
process.env.PATH = path.dirname(process.execPath);
const esbuild = await import('esbuild-wasm');

const { code } = await esbuild.transform('enum E { A = 1 }\nexport const f = async <T,>(x: T) => x ?? E.A;', {
  loader: 'ts',
  target: 'es2019',
});
console.log(code);

const folder = await mkdtemp(path.join(tmpdir(), 'esbuild-'));
await writeFile(path.join(folder, 'app.jsx'), 'import { h, data } from "./h.js"; export const view = <p class="a">{data.n}</p>;');
await writeFile(path.join(folder, 'h.js'), 'import data from "./data.json"; export const h = (...x) => x; export { data };');
await writeFile(path.join(folder, 'data.json'), '{ "n": 42 }');
const { errors, warnings, metafile } = await esbuild.build({
  absWorkingDir: folder,
  entryPoints: ['app.jsx'],
  outfile: 'out.mjs',
  bundle: true,
  minify: true,
  format: 'esm',
  jsxFactory: 'h',
  metafile: true,
});
console.log(errors, warnings, Object.keys(metafile.inputs));
console.log(await readFile(path.join(folder, 'out.mjs'), 'utf8'));
await esbuild.transform('let 1', { logLevel: 'silent' }).catch((error) => console.log(error.message));
await esbuild.stop();
