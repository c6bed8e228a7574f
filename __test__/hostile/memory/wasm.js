// WebAssembly: memories, tables, types, code.
// @outcome any
// @options {"memoryLimit": 32, "cpuTimeLimitMs": 100}
// @grows 800
// @each new WebAssembly.Memory({ initial: 65536 })
// @each const a = []; for (;;) a.push(new WebAssembly.Memory({ initial: 1 }))
// @each const a = []; for (;;) a.push(new WebAssembly.Memory({ initial: 0, maximum: 65536 }))
// @each const a = []; for (;;) a.push(new WebAssembly.Memory({ initial: 0 }))
// @each const m = new WebAssembly.Memory({ initial: 1 }); for (;;) { m.grow(1); new Uint8Array(m.buffer).fill(1) }
// @each const m = new WebAssembly.Memory({ initial: 1, maximum: 65536, shared: true }); m.grow(65000)
// @each new WebAssembly.Memory({ initial: 1n, address: 'i64', maximum: 1n << 40n }).grow(1n << 30n)
// @each new WebAssembly.Table({ element: 'anyfunc', initial: 10000000 }); const a = []; for (;;) a.push(new WebAssembly.Table({ element: 'anyfunc', initial: 100000 }))
// @each const t = new WebAssembly.Table({ element: 'externref', initial: 1 }); for (;;) t.grow(100000, {})
// @each const a = []; for (;;) a.push(new WebAssembly.Global({ value: 'externref', mutable: true }, {}))
// @each const a = []; for (;;) a.push(new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0])))
// @each const a = []; for (;;) a.push(new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]))))
// @each const a = []; for (;;) a.push(WebAssembly.compile(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0])))
// @each const a = []; for (;;) a.push(new WebAssembly.Tag({ parameters: ['i32'] }))
// @each const t = new WebAssembly.Tag({ parameters: ['externref'] }); const a = []; for (;;) a.push(new WebAssembly.Exception(t, [a]))
// @each const bytes = [0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 8, 1, 0, 10, 9, 1, 7, 0, 3, 64, 12, 0, 11, 11]; new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array(bytes)))
// @each const bytes = [0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 8, 1, 0, 10, 6, 1, 4, 0, 16, 0, 11]; for (;;) try { new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array(bytes))) } catch {}
// @each const leb = (n) => { const out = []; do { const b = n & 127; n >>>= 7; out.push(n ? b | 128 : b) } while (n); return out }; const n = 999999, body = [...leb(n)]; const types = new Uint8Array(n * 3); for (let i = 0; i < n; i++) types.set([95, 0, 0].slice(0, 2), i * 2); const used = types.subarray(0, n * 2); const size = leb(body.length + used.length); for (let k = 0; k < 3; k++) WebAssembly.validate(Buffer.concat([Buffer.from([0, 97, 115, 109, 1, 0, 0, 0, 1, ...size, ...body]), used])); for (;;);
// @each WebAssembly.validate(new Uint8Array(2e7)); for (;;) WebAssembly.validate(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 0, 1, 0]))
// @each new WebAssembly.Module(new Uint8Array(2e7)); for (;;);
// @each const b = new Uint8Array(new ArrayBuffer(8, { maxByteLength: 100 })); Promise.all([WebAssembly.compile(b), b.buffer.resize(0)]); for (;;);
// @each let f = (i) => i; const s = []; for (;;) s.push(new WebAssembly.Suspending?.(f) ?? new WebAssembly.Memory({ initial: 1 }))
EACH
