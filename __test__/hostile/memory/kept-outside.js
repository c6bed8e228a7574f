// Objects that are small in V8's heap and large outside of it.
// @outcome memory | cpu
// @options {"memoryLimit": 32, "cpuTimeLimitMs": 600}
// @within 15000
// @grows 330
// @each a.push(crypto.createSecretKey(Buffer.alloc(1e5)))
// @each a.push(crypto.subtle.importKey('raw', Buffer.alloc(1e5), 'HKDF', false, ['deriveBits']))
// @each a.push(WebAssembly.compile(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0])))
// @each a.push(require('tls').createSecureContext())
// @each a.push(crypto.createCipheriv('aes-256-gcm', Buffer.alloc(32), Buffer.alloc(12)))
// @each crypto.subtle.digest('SHA-512', million)
// @each crypto.subtle.importKey('raw', million, { name: 'HMAC', hash: 'SHA-256' }, true, ['sign'])
// @each crypto.pbkdf2(million, million, 1e6, 64, 'sha512', () => {})
// @each crypto.hkdf('sha512', million.subarray(0, 1e5), 'a', 'b', 16000, () => {})
// @each (globalThis.child ??= require('child_process').fork('/tmp/idle.js')).send(text)
const crypto = require('crypto'), a = [], million = Buffer.alloc(1e6), text = 'x'.repeat(1e6);
require('fs').writeFileSync('/tmp/idle.js', 'setInterval(() => {}, 1e3)');
for (;;) EACH;
