// Memory of V8's parser and of its compilers of regular expressions, which look at no request to end.
// @outcome memory | error
// @options {"memoryLimit": 32, "cpuTimeLimitMs": 8000}
// @grows 420
// @each new RegExp('\\p{L}'.repeat(1e5), 'u').test('a')
// @each new RegExp('[^\\p{L}]{100}'.repeat(1e4), 'u').test('a')
// @each eval('x = `' + '${1}'.repeat(3e6) + '`')
EACH
