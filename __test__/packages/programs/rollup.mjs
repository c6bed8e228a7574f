import { rollup } from '@rollup/wasm-node';

const sources = {
  entry: `import { used } from 'library'; import('lazy').then((lazy) => console.log(used, lazy.default));`,
  library: `export const used = 'é ' + 1; export const unused = () => used;`,
  lazy: `export default class Lazy { static count = 1n; }`,
};
const bundle = await rollup({
  input: 'entry',
  plugins: [{ name: 'memory', resolveId: (id) => (id in sources ? id : null), load: (id) => sources[id] }],
});
const { output } = await bundle.generate({ format: 'es', entryFileNames: '[name]-[hash].js', sourcemap: true });
for (const { fileName, type, code, imports } of output) {
  console.log(fileName, type);
  if (type === 'chunk') console.log(imports, code);
}
await bundle.close();
await rollup({ input: 'x', plugins: [{ name: 'broken', resolveId: (id) => id, load: () => 'let = ;' }] }).catch((error) =>
  console.log(error.code, error.message, error.loc.line, error.loc.column),
);
