// Blocks of gigabytes outside of V8's heap: V8's allocator ends the OS process for them unless somebody steps in first.
// @outcome error | memory | cpu
// @options {"memoryLimit": 64, "cpuTimeLimitMs": 6000, "wallTimeLimitMs": 60000}
// @within 60000
// @grows 3200
// @each JSON.parse('['.repeat(2 ** 29 - 24))
// @each '\ufdfa'.repeat(2 ** 27).normalize('NFKC')
// @each new Intl.Locale('en-x-' + 'abc-'.repeat(2 ** 26))
// @each throw '\u0800'.repeat(2 ** 29 - 30)
// @each process.chdir('/' + '\u0800'.repeat(2 ** 29 - 30))
// @each process.loadEnvFile('\u0800'.repeat(2 ** 29 - 30))
// @each require('crypto').createHash('shake256', { outputLength: 2 ** 31 }).digest()
// @each require('crypto').createHash('shake128', { outputLength: 2 ** 32 - 1 }).digest('hex')
EACH
