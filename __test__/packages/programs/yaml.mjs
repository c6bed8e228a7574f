import { parse, parseDocument, stringify } from 'yaml';
console.log(parse('a: &x [1, two, 3.0]\nb: *x\nc: |\n  text\n  more\nd: 2001-12-14\n'), stringify({ a: [1, { b: null }], s: 'x: y' }));
console.log(parseDocument('a: [').errors.map((error) => error.code));
