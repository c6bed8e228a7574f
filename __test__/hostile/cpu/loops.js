// Loops of every form.
// @outcome cpu
// @each for (;;);
// @each while (true) try { for (;;); } catch {} finally { continue }
// @each (function f() { try { f() } finally { f() } })()
// @each label: for (;;) { try { break label } finally { continue label } }
// @each function* g() { try { yield 1 } finally { for (;;); } } for (const _ of g()) break
// @each const it = { [Symbol.iterator]: () => ({ next: () => ({ value: 1, done: false }), return() { for (;;); } }) }; for (const _ of it) break
// @each new Map([[1, 1]]).forEach(function (v, k, m) { m.delete(k); m.set(k, v); m.forEach(() => { for (;;); }) })
// @each const s = new Set([1]); for (const v of s) { s.delete(v); s.add(v) }
// @each for (const x of (function* () { for (;;) yield })()) ;
// @each new (class { static { for (;;); } })()
// @each `${{ toString() { for (;;); } }}`
// @each ({ get a() { for (;;); } }).a
// @each eval('for (;;);')
// @each new Function('for (;;);')()
// @each Reflect.construct(function () { for (;;); }, [])
// @each [3, 2, 1].sort(() => { for (;;); })
// @each 'aaa'.replace(/a/g, () => { for (;;); })
// @each JSON.parse('[1]', () => { for (;;); })
// @each JSON.stringify({ toJSON() { for (;;); } })
// @each with ({}) for (;;);
// @each debugger; for (;;);
EACH
