const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { execFileSync } = require('node:child_process');
const webpack = require('webpack');

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'webpack-'));
fs.writeFileSync(path.join(folder, 'package.json'), '{ "sideEffects": false }');
fs.writeFileSync(path.join(folder, 'index.js'), "import { add } from './math.js';\nimport('./lazy.js').then((m) => console.log(add(1, 2), m.default));\n");
fs.writeFileSync(path.join(folder, 'math.js'), 'export const add = (a, b) => a + b;\nexport const sub = (a, b) => a - b;\n');
fs.writeFileSync(path.join(folder, 'lazy.js'), "export default 'lazy é';\n");
webpack(
  {
    context: folder,
    mode: 'production',
    target: 'node',
    entry: './index.js',
    output: { path: path.join(folder, 'dist') },
    optimization: { minimize: false },
  },
  (error, stats) => {
    if (error) throw error;
    const { errors, assets } = stats.toJson();
    console.log(errors, assets.map(({ name, size }) => [name, size]));
    console.log(execFileSync(process.execPath, [path.join(folder, 'dist/main.js')], { encoding: 'utf8' }));
    fs.rmSync(folder, { recursive: true });
  },
);
