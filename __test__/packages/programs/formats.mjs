import { parse as csv } from 'csv-parse';
import { parse as csvSync } from 'csv-parse/sync';
import xml2js from 'xml2js';
import * as yaml from 'js-yaml';
import ini from 'ini';
import { XMLParser, XMLBuilder } from 'fast-xml-parser';
import { marked } from 'marked';
import hljs from 'highlight.js';
import mime from 'mime-types';
console.log(csvSync('a,b\n1,"x, ""y"""\n', { columns: true, cast: true }));
const rows = [];
const p = csv({ delimiter: ';' });
p.on('readable', () => {
  let r;
  while ((r = p.read()) !== null) rows.push(r);
});
p.write('a;b\n');
p.write('c;d');
p.end();
await new Promise((r) => p.on('end', r));
console.log(rows);
try {
  csvSync('a,"b');
} catch (e) {
  console.log(e.code);
}
console.log(
  JSON.stringify(await xml2js.parseStringPromise("<a x='1'><b>t</b><b/></a>")),
  new xml2js.Builder().buildObject({ a: { $: { k: 'v' }, b: ['<', 2] } }),
);
await xml2js.parseStringPromise('<a>').catch((e) => console.log(e.message));
console.log(
  yaml.load('a: &x [1, 2.5, ~, 2020-01-01]\nb: *x\nc: |\n  t\n  u\n'),
  yaml.dump({ a: [1, { b: 'c: d' }], n: null }),
);
try {
  yaml.load('a: [');
} catch (e) {
  console.log(e.name, e.reason);
}
console.log(ini.parse('a=1\n[s.t]\nb[]=x\nb[]=y'), ini.stringify({ s: { k: true } }));
console.log(
  new XMLParser({ ignoreAttributes: false }).parse("<r><i k='v'>1</i><i>2</i></r>"),
  new XMLBuilder().build({ a: [1, 2] }),
);
console.log(
  marked.parse('# T\n\n* a\n* **b**\n\n| a | b |\n|--|--|\n| 1 | 2 |'),
  hljs.highlight('const a = `x${1}`;', { language: 'javascript' }).value,
  mime.lookup('a.svg'),
  mime.contentType('json'),
);
