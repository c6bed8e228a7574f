// JSON, where V8 looks for no interrupt while it reads.
// @outcome any
// @each JSON.parse('['.repeat(5e7))
// @each JSON.parse('['.repeat(2e7) + ']'.repeat(2e7))
// @each JSON.parse('{"a":'.repeat(5e6) + '1' + '}'.repeat(5e6))
// @each JSON.parse('[' + '1,'.repeat(5e7) + '1]')
// @each for (;;) JSON.parse('[' + '1.5,'.repeat(1e6) + '1]')
// @each for (;;) JSON.parse('{' + new Array(1e5).fill(0).map((_, i) => `"k${i}":1`).join() + '}')
// @each JSON.parse('"' + '\\u0041'.repeat(5e7) + '"')
// @each JSON.parse(' '.repeat(2 ** 29 - 30)); for (;;) JSON.parse(' '.repeat(2 ** 28) + '1')
// @each JSON.parse('[' + '{"__proto__":1,"a":{}},'.repeat(1e6) + '1]')
// @each let o = [1]; for (let i = 0; i < 40; i++) o = [o, o]; JSON.stringify(o)
// @each let o = {}; for (let i = 0; i < 1e6; i++) o = { o }; JSON.stringify(o)
// @each JSON.stringify('\u0000'.repeat(2 ** 27))
// @each JSON.stringify({ a: 'x' }, null, ' '.repeat(10)); let o = 1; for (let i = 0; i < 5000; i++) o = [o]; for (;;) JSON.stringify(o, null, 10)
// @each JSON.stringify(new Array(1e8))
// @each JSON.stringify(new Uint8Array(3e7))
// @each JSON.stringify({}, new Array(1e7).fill(0).map((_, i) => 'k' + i)); for (;;);
// @each JSON.parse('[]', function f() { return JSON.parse('[]', f) })
// @each JSON.rawJSON?.('1'.repeat(2 ** 28)); for (;;);
EACH
