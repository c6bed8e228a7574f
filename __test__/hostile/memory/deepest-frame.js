// Work in the last frames of a full stack: V8's C++, ICU and our Rust have room of their own there.
// @outcome ok | cpu | memory
// @options {"cpuTimeLimitMs": 250}
// @within 12000
// @each JSON.parse('['.repeat(1000) + ']'.repeat(1000))
// @each JSON.stringify({ a: [1, { b: 2 }] })
// @each new RegExp('(' .repeat(500) + ')'.repeat(500)).test('a')
// @each /(a|b)*c/.test('ab'.repeat(10000))
// @each eval('('.repeat(300) + '1' + ')'.repeat(300))
// @each new Function('return 1')()
// @each new (require('vm').Script)('1').runInThisContext()
// @each require('vm').runInNewContext('1')
// @each structuredClone({ a: new Map([[1, { b: new Error('x') }]]) })
// @each require('v8').deserialize(require('v8').serialize({ a: [1] }))
// @each new Intl.DateTimeFormat('de', { dateStyle: 'full' }).format(0)
// @each new Intl.NumberFormat('ar').format(1234.5)
// @each [...new Intl.Segmenter('th', { granularity: 'word' }).segment('กขคงจ'.repeat(100))]
// @each 'ä'.normalize('NFD').localeCompare('a', 'de')
// @each new URL('http://ä.example/../a?b#c')
// @each require('fs').readFileSync('/etc/hosts')
// @each require('fs').mkdirSync('/tmp/a/b/c', { recursive: true })
// @each require('fs').readdirSync('/', { recursive: true })
// @each require('fs').cpSync('/etc', '/tmp/etc', { recursive: true })
// @each require('fs').globSync('/**')
// @each require('crypto').createHash('sha512').update('x').digest()
// @each require('crypto').generateKeyPairSync('ec', { namedCurve: 'P-521' })
// @each require('crypto').generateKeyPairSync('ed448')
// @each require('crypto').scryptSync('a', 'b', 32, { N: 16 })
// @each require('crypto').createPrivateKey(globalThis.pem ??= require('crypto').generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey.export({ type: 'pkcs8', format: 'pem' })).export({ type: 'pkcs1', format: 'der' })
// @each require('tls').createSecureContext()
// @each require('zlib').brotliCompressSync('x'.repeat(1000))
// @each require('zlib').gunzipSync(require('zlib').gzipSync('x'))
// @each require('zlib').zstdDecompressSync?.(require('zlib').zstdCompressSync('x'))
// @each require('child_process').execSync('echo $(echo $(echo a))')
// @each require('child_process').spawnSync('node', ['-e', '1'])
// @each new (require('worker_threads').Worker)('1', { eval: true })
// @each require('module').stripTypeScriptTypes('let a: ' + '('.repeat(200) + 'number' + ')'.repeat(200))
// @each require('module').stripTypeScriptTypes('enum A { B = 1 } namespace C { export const d = 1 }', { mode: 'transform' })
// @each console.log(require('util').inspect(process, { depth: 5 }).slice(0, 1))
// @each new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0])))
// @each WebAssembly.compile(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]))
// @each fetch('http://127.0.0.1:1').catch(() => {})
// @each require('http').createServer().listen(0).close()
// @each require('http2').createServer().listen(0).close()
// @each new Error('x', { cause: new Error('y') }).stack
// @each process.memoryUsage()
// @each process.report?.getReport?.()
// @each require('assert').deepStrictEqual({ a: [1] }, { a: [1] })
// @each import('node:fs')
// @each require('/workspace/none')
// @each Atomics.add(new Int32Array(4), 0, 1)
// @each new Blob(['x']).text()
// @each new TextDecoder('gb18030').decode(new Uint8Array(10))
// @each 'x'.repeat(1e6).split('').sort().join('')
// @each queueMicrotask(() => {})
// @each new (require('node:stream').Readable)({ read() {} })
const work = () => EACH;
try { work() } catch {}
process.on('unhandledRejection', () => {});
process.on('uncaughtException', () => {});
for (let round = 0; round < 3; round++) {
  let left = 24;
  const down = (...padding) => {
    try { down(...padding) } catch (error) {
      if (left-- > 0) try { work() } catch {}
      throw error;
    }
  };
  try { down(...new Array(round * 7).fill(0)) } catch {}
}
require('fs').writeSync(1, '\nok\n');
process.reallyExit(0);
