// Regular expressions that explode when compiled or matched.
// @outcome any
// @each /(a+)+$/.test('a'.repeat(60) + 'b'); for (;;);
// @each /(x*)*y/.test('x'.repeat(1e5)); for (;;);
// @each /1+2/.test('1'.repeat(2 ** 27))
// @each /^(([a-z])+.)+[A-Z]([a-z])+$/.test('a'.repeat(1000)); for (;;);
// @each /(?<=(a*)*b)c/.test('a'.repeat(50) + 'c'); for (;;);
// @each new RegExp('(?=' .repeat(5e4) + ')'.repeat(5e4)).test('a'); for (;;);
// @each new RegExp('('.repeat(1e6) + ')'.repeat(1e6))
// @each new RegExp('(?:'.repeat(1e5) + 'a' + ')*'.repeat(1e5)).test('a')
// @each new RegExp('(a)'.repeat(32767)).test('a'); for (;;);
// @each new RegExp('(?:(?:(?:a{0,65535}){0,65535}){0,65535}){0,65535}').test('a'); for (;;);
// @each new RegExp('((((a{9999}){9999}){9999}){9999})').test('a'); for (;;);
// @each new RegExp(new Array(1e5).fill(0).map((_, i) => 'w' + i).join('|')).test('zzz'); for (;;);
// @each new RegExp(new Array(1e5).fill(0).map((_, i) => 'w' + i).join('|'), 'i').test('zzz'); for (;;);
// @each new RegExp('[' + new Array(1e6).fill(0).map((_, i) => String.fromCodePoint(0x10000 + (i * 2) % 0xf0000)).join('') + ']', 'u').test('a'); for (;;);
// @each new RegExp('[\\p{L}--[\\p{Lu}&&[\\p{ASCII}]]]'.repeat(5000), 'v').test('a'); for (;;);
// @each new RegExp('\\p{RGI_Emoji}'.repeat(300), 'v').test('a'); for (;;);
// @each new RegExp('[^]'.repeat(1e6)).test('a'); for (;;);
// @each new RegExp('\\b'.repeat(1e6) + 'a').test('a'); for (;;);
// @each new RegExp('a?'.repeat(5000) + 'a'.repeat(5000)).test('a'.repeat(5000)); for (;;);
// @each new RegExp('(?<n' + 'x'.repeat(1e6) + '>a)').exec('a'); for (;;);
// @each new RegExp(new Array(3e4).fill(0).map((_, i) => `(?<n${i}>a)?`).join('')).exec('a'); for (;;);
// @each for (let i = 0; ; i++) new RegExp('a' + i).test('a')
// @each const a = []; for (let i = 0; ; i++) { const r = new RegExp('[a-z]{1,50}(' + i + ')'); r.test('abc'); a.push(r) }
// @each 'a'.repeat(1e7).replace(/(?:)/g, 'b'.repeat(100))
// @each 'a'.repeat(1e7).split(/(?:)/u)
// @each 'a'.repeat(30000).match(/(.*)*(.*)*\1/); for (;;);
// @each /\1(a)/.test('a'.repeat(1e6)); const r = /(a*)*\1b/y; r.test('a'.repeat(40)); for (;;);
// @each const r = /a/g; r.exec = () => ({ index: 0, 0: '' }); 'x'.replace(r, 'y'); for (;;) 'x'.match(r)
// @each class R extends RegExp { exec() { return { length: 2 ** 53 - 1, index: 0, 0: 'a' } } } 'a'.replace(new R('a'), 'b')
// @each class R extends RegExp { exec() { this.lastIndex = 0; return [''] } } 'a'.match(new R('a', 'g'))
// @each class R extends RegExp { exec() { return Object.assign([], { length: 2 ** 32 - 1, 0: '' }) } } 'ab'.split(new R('a'))
// @each const r = /a/y; Object.defineProperty(r, 'lastIndex', { value: 2 ** 53 - 1, writable: true }); for (;;) r.test('a')
// @each '$&'.repeat(1e6).replace(/\$/g, "$'$`")
// @each 'x'.repeat(1e6).replace(/x/g, '$`')
EACH
