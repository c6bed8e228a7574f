// Big integers and conversions.
// @outcome any
// @each BigInt('1'.repeat(1e8))
// @each for (;;) BigInt('0x' + 'f'.repeat(1e7))
// @each eval('1'.repeat(1e8) + 'n')
// @each eval('1'.repeat(1.5e7) + 'n')
// @each eval('0b' + '1'.repeat(1.5e7) + 'n')
// @each eval('1'.repeat(1.5e7))
// @each eval('0.' + '1'.repeat(1.5e7))
// @each (1n << (1n << 29n)).toString()
// @each (1n << 30000000n).toString()
// @each 7n ** 10000000n
// @each const a = (1n << 10000000n) - 1n; for (;;) a * a
// @each const a = (1n << 10000000n) - 1n; for (;;) (a * a) / a
// @each const a = (1n << 10000000n) - 1n; for (;;) (a * a) % (a - 2n)
// @each for (let a = 3n; ; a *= a);
// @each for (;;) BigInt.asUintN(2 ** 53 - 1, 1n << 1000000n)
// @each BigInt.asUintN(2 ** 53 - 1, -1n)
// @each for (let a = 1n; ; a <<= 1000000n);
// @each (1n << 10000000n).toString(3)
// @each (1n << 10000000n).toLocaleString('de')
// @each BigInt(Number.MAX_VALUE) ** 100000n
// @each for (;;) (1.5e300).toString(2) + (5e-324).toString(36) + (1e21).toFixed(100)
// @each for (;;) (0.1).toPrecision(100)
// @each for (;;) new Intl.NumberFormat('en', { minimumFractionDigits: 100 }).format(1e308)
// @each require('crypto').generatePrimeSync(16384)
// @each require('crypto').checkPrimeSync((1n << 44497n) - 1n)
EACH
