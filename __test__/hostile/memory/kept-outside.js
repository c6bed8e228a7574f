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
const crypto = require('crypto'), a = [];
for (;;) EACH;
