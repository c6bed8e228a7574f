import { minify } from 'terser';
import babel from '@babel/core';
const m = await minify(
  'function add(first, second) { const unused = 1; return first + second; } console.log(add(1, 2));',
  { sourceMap: true, toplevel: true },
);
console.log(m.code, JSON.parse(m.map).version);
await minify('let x = ;').catch((e) => console.log(e.name, e.message, e.line));
const b = await babel.transformAsync(
  'class A { #x = 1; get x() { return this.#x ?? 2; } } export default async () => [...await A];',
  { configFile: false, babelrc: false, cwd: '/' },
);
console.log(b.code);
try {
  babel.transformSync('let a = ', { configFile: false, babelrc: false, cwd: '/' });
} catch (e) {
  console.log(e.code, e.reasonCode, e.loc);
}
