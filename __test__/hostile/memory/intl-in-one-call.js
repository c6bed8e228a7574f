// Memory of ICU in one call, which is not interrupted.
// @outcome memory | cpu
// @options {"memoryLimit": 32, "cpuTimeLimitMs": 8000}
// @grows 1100
// @each new Intl.ListFormat('en').format(new Array(1e6).fill('x'.repeat(100)))
// @each new Intl.ListFormat('en').formatToParts(new Array(2e6).fill('x'.repeat(50)))
EACH
