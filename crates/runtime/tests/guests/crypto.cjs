'use strict';
const assert = require('assert');
const crypto = require('crypto');
const { promisify } = require('util');
const { webcrypto } = crypto;

// Test vectors of the standards, and what Node 22 answers.
const DIGESTS = {
  'md5': '900150983cd24fb0d6963f7d28e17f72',
  'sha1': 'a9993e364706816aba3e25717850c26c9cd0d89d',
  'sha224': '23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7',
  'RSA-SHA256': 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
  'SHA2-384': 'cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7',
  'sha512-256': '53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23',
  'sha3-256': '3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532',
  'ripemd160': '8eb208f7e05d987a9b044a8e98c6b087f15a0bfc',
  'blake2s256': '508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982',
  'shake128': '5881092dd818bf5cf8a3ddb793fbcba7',
};
for (const [name, digest] of Object.entries(DIGESTS)) {
  assert.strictEqual(crypto.createHash(name).update('a').update(Buffer.from('bc')).digest('hex'), digest, name);
  assert.strictEqual(crypto.hash(name, 'abc'), digest);
}
for (const name of crypto.getHashes()) assert(crypto.createHash(name).update('').digest().length >= 16, name);
assert.strictEqual(crypto.createHash('shake256', { outputLength: 3 }).digest('hex'), '46b9dd');
const hash = crypto.createHash('sha256').update('ab');
const copy = hash.copy();
assert.strictEqual(copy.update('c').digest('hex'), DIGESTS['RSA-SHA256']);
assert.throws(() => copy.update('x'), { code: 'ERR_CRYPTO_HASH_FINALIZED' });
assert.notStrictEqual(hash.digest('hex'), DIGESTS['RSA-SHA256']);
assert.throws(() => crypto.createHash('xyzzy'), { message: 'Digest method not supported' });
assert.throws(() => crypto.hash('xyzzy', ''), { message: 'Digest method xyzzy is not supported' });
assert.throws(() => crypto.createHash('sha256', { outputLength: 5 }), { code: 'ERR_OSSL_EVP_NOT_XOF_OR_INVALID_LENGTH' });

assert.strictEqual(crypto.createHmac('sha256', 'Jefe').update('what do ya want for nothing?').digest('hex'),
                   '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843');
assert.throws(() => crypto.createHmac('xyz', ''), { code: 'ERR_CRYPTO_INVALID_DIGEST', message: 'Invalid digest: xyz' });
const secret = crypto.createSecretKey(Buffer.from('Jefe'));
assert.strictEqual(crypto.createHmac('md5', secret).update('what do ya want for nothing?').digest('hex'),
                   '750c783e6ab0b503eaa86e310a5db738');
assert.strictEqual(secret.symmetricKeySize, 4);
assert.strictEqual(secret.export().toString(), 'Jefe');
assert.deepStrictEqual(secret.export({ format: 'jwk' }), { kty: 'oct', k: 'SmVmZQ' });
assert(secret.equals(crypto.createSecretKey('Jefe', 'utf8')));
assert(!secret.equals(crypto.createSecretKey('Jeff', 'utf8')));

assert(crypto.timingSafeEqual(Buffer.from('ab'), new Uint8Array([97, 98])));
assert(!crypto.timingSafeEqual(Buffer.from('ab'), Buffer.from('ac')));
assert.throws(() => crypto.timingSafeEqual(Buffer.alloc(1), Buffer.alloc(2)), { code: 'ERR_CRYPTO_TIMING_SAFE_EQUAL_LENGTH' });

// RFC 6070, RFC 7914, RFC 5869.
assert.strictEqual(crypto.pbkdf2Sync('password', 'salt', 4096, 20, 'sha1').toString('hex'), '4b007901b765489abead49d926f721d065a429c1');
assert.strictEqual(crypto.scryptSync('password', 'NaCl', 64, { N: 1024, r: 8, p: 16 }).toString('hex').slice(0, 32), 'fdbabe1c9d3472007856e7190d01e9fe');
assert.strictEqual(Buffer.from(crypto.hkdfSync('sha256', Buffer.alloc(22, 0x0b), Buffer.from('000102030405060708090a0b0c', 'hex'),
                                               Buffer.from('f0f1f2f3f4f5f6f7f8f9', 'hex'), 42)).toString('hex'),
                   '3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865');
assert.throws(() => crypto.scryptSync('', '', 1, { N: 1 << 20 }), { code: 'ERR_CRYPTO_INVALID_SCRYPT_PARAMS' });
assert.throws(() => crypto.hkdfSync('sha256', '', '', '', 8161), { code: 'ERR_CRYPTO_INVALID_KEYLEN' });

// Ciphers; what they make is Node 22's.
const material = Buffer.from('000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f', 'hex');
const sentence = 'The quick brown fox jumps over the lazy dog';
for (const [name, keyLength, ivLength, expected] of [
  ['aes-128-cbc', 16, 16, 'd5f239401cf82914474428e33d8b1c9e380a8f51f8800d23a97775715faf4ba9184136f0641c6aa50af279b95be10423'],
  ['aes-256-cbc', 32, 16, '4846f83aa211e239aa62a21f527f089ee9ddbead30ee15d4e79b607a621b97be038b06d28923c94bca2c60df36761146'],
  ['aes-256-ecb', 32, 0, 'bce46469e2f7ab6b7ea767bd3252529afc8479b8d96cc17664e5f0b76b9550ea96c5a7d26b0c9efd694a096a46971a46'],
  ['aes-192-ctr', 24, 16, '5408dade37f622dbb17c9bd470854e8e4f981bc8cb00abcfd674fbff77f665813ba230959d5e85c1ff20ff'],
  ['aes-128-gcm', 16, 12, 'c704c2ee176e9e3720f203f859d41e28d54962c63998908695019e5b71368218edc1fb9b95facec3249b6eab3fa3b369dc798727530e776b86eb7a'],
  ['aes-256-gcm', 32, 7, 'd138372976ef11a55daf7f8ff3b850d2f6cce628df499fee01a504c158bbfa4bc7e4edf48392c1a086af618c2d51115a991af8f3ba367e76d3bd70'],
]) {
  const [key, iv] = [material.subarray(0, keyLength), ivLength ? material.subarray(0, ivLength) : null];
  const gcm = name.endsWith('gcm');
  for (const piece of [1, 5, 16, 43]) {
    const cipher = crypto.createCipheriv(name, key, iv);
    if (gcm) cipher.setAAD(Buffer.from('aad'));
    const parts = [];
    for (let at = 0; at < sentence.length; at += piece) parts.push(cipher.update(sentence.slice(at, at + piece)));
    parts.push(cipher.final());
    if (gcm) parts.push(cipher.getAuthTag());
    const sealed = Buffer.concat(parts);
    assert.strictEqual(sealed.toString('hex'), expected, `${name} by ${piece}`);
    const open = (tag) => {
      const decipher = crypto.createDecipheriv(name, key, iv);
      if (gcm) decipher.setAAD(Buffer.from('aad')).setAuthTag(tag);
      const body = gcm ? sealed.subarray(0, -16) : sealed;
      let text = '';
      for (let at = 0; at < body.length; at += piece) text += decipher.update(body.subarray(at, at + piece), null, 'utf8');
      return text + decipher.final('utf8');
    };
    assert.strictEqual(open(sealed.subarray(-16)), sentence);
    if (gcm) assert.throws(() => open(Buffer.alloc(16)), { message: 'Unsupported state or unable to authenticate data' });
  }
}
const sixteen = Buffer.alloc(16);
const aes = (make, name = 'aes-128-cbc', key = sixteen, iv = sixteen) => crypto[make](name, key, iv);
assert.throws(() => aes('createCipheriv', 'xyz'), { code: 'ERR_CRYPTO_UNKNOWN_CIPHER' });
assert.throws(() => aes('createCipheriv', 'aes-256-cbc'), { code: 'ERR_CRYPTO_INVALID_KEYLEN' });
assert.throws(() => aes('createCipheriv', 'aes-128-cbc', sixteen, null), { code: 'ERR_CRYPTO_INVALID_IV' });
assert.throws(() => aes('createCipheriv', 'aes-128-gcm', sixteen, Buffer.alloc(0)), { code: 'ERR_CRYPTO_INVALID_IV' });
assert.throws(() => aes('createDecipheriv').final(), { code: 'ERR_OSSL_WRONG_FINAL_BLOCK_LENGTH' });
assert.throws(() => aes('createDecipheriv', 'aes-128-gcm').final(), { message: 'Unsupported state or unable to authenticate data' });
assert.throws(() => aes('createDecipheriv', 'aes-128-gcm').setAuthTag(Buffer.alloc(17)), { code: 'ERR_CRYPTO_INVALID_AUTH_TAG' });
assert.throws(() => aes('createCipheriv').getAuthTag(), { code: 'ERR_CRYPTO_INVALID_STATE' });
{
  const cipher = aes('createCipheriv');
  cipher.final();
  assert.throws(() => cipher.update('a'), { message: 'Trying to add data in unsupported state' });
  assert.throws(() => cipher.final(), { code: 'ERR_CRYPTO_INVALID_STATE' });
  const unpadded = aes('createCipheriv').setAutoPadding(false);
  unpadded.update('a');
  assert.throws(() => unpadded.final(), { code: 'ERR_OSSL_WRONG_FINAL_BLOCK_LENGTH' });
}
assert.deepStrictEqual(crypto.getCipherInfo('aes-128-gcm'),
                       { mode: 'gcm', name: 'id-aes128-gcm', nid: 895, blockSize: 1, ivLength: 12, keyLength: 16 });

const [first, second] = [crypto.randomBytes(100), crypto.randomBytes(100)];
assert(!first.equals(second) && first.length === 100);
assert.match(crypto.randomUUID(), /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
assert.notStrictEqual(crypto.randomUUID(), crypto.randomUUID());
for (let i = 0; i < 100; i++) assert([3, 4].includes(crypto.randomInt(3, 5)));
const filled = crypto.randomFillSync(new Uint32Array(20), 5, 5);
assert(filled.subarray(0, 5).every((word) => word === 0) && filled.subarray(5, 10).some((word) => word !== 0));
assert(filled.subarray(10).every((word) => word === 0));
assert(webcrypto.getRandomValues(new Uint8Array(32)).some((byte) => byte !== 0));

// Any receiver, any arguments. Node takes the first one, and is at it for hours.
assert.throws(() => crypto.scryptSync('', '', 1, { N: 1 << 20, p: 1 << 20, maxmem: 2 ** 40 }), { code: 'ERR_CRYPTO_INVALID_SCRYPT_PARAMS' });
const binding = process.binding('crypto');
const { Hash, Hmac, RandomBytesJob, PBKDF2Job, ScryptJob, KeyObjectHandle, timingSafeEqual } = binding;
assert.throws(() => Hash('md5'), { code: 'ERR_CONSTRUCT_CALL_REQUIRED' });
assert.throws(() => new Hash({}), { code: 'ERR_INVALID_ARG_TYPE' });
assert.throws(() => new Hash('md5').update({}), { code: 'ERR_INVALID_ARG_TYPE' });
assert.throws(() => Hash.prototype.digest.call(new Hmac()), TypeError);
assert.strictEqual(new Hmac().update('x'), false);
assert.strictEqual(new Hmac().digest('hex'), '');
assert.throws(() => new Hmac().init('md5', 5), { code: 'ERR_INVALID_ARG_TYPE' });
assert.throws(() => new RandomBytesJob(1, new Uint8Array(9), 5, 5), { code: 'ERR_INVALID_ARG_TYPE' });
assert.throws(() => new RandomBytesJob(1, new Uint8Array(9), -1, 5), { code: 'ERR_INVALID_ARG_TYPE' });
assert.throws(() => new RandomBytesJob(1, 'text', 0, 1), { code: 'ERR_INVALID_ARG_TYPE' });
assert.throws(() => new PBKDF2Job(1, '', new Uint8Array(1), 1, 1, 'md5'), { code: 'ERR_INVALID_ARG_TYPE' });
assert.throws(() => new PBKDF2Job(1, new Uint8Array(1), new Uint8Array(1), 1, 2 ** 40, 'md5'), { code: 'ERR_CRYPTO_INVALID_KEYLEN' });
assert.throws(() => new ScryptJob(1, new Uint8Array(1), new Uint8Array(1), 2 ** 52, 2 ** 52, 2 ** 52, 2 ** 53, 1), RangeError);
assert.throws(() => new KeyObjectHandle().export(), { code: 'ERR_INVALID_STATE' });
assert.throws(() => timingSafeEqual(), { code: 'ERR_INVALID_ARG_TYPE' });
{
  const job = new RandomBytesJob(1, new Uint8Array(9), 0, 9);
  assert.deepStrictEqual(job.run(), [undefined, undefined]);
  assert.throws(() => job.run(), { code: 'ERR_INVALID_STATE' });
}
{
  // Memory that goes before the job is done.
  const buffer = new ArrayBuffer(64);
  const job = new RandomBytesJob(0, buffer, 0, 64);
  let done = false;
  job.ondone = (error) => { assert.strictEqual(error, undefined); done = true; };
  job.run();
  structuredClone(buffer, { transfer: [buffer] });
  process.on('exit', () => assert(done));
}

(async () => {
  assert.strictEqual((await promisify(crypto.pbkdf2)('password', 'salt', 2, 20, 'sha1')).toString('hex'),
                     crypto.pbkdf2Sync('password', 'salt', 2, 20, 'sha1').toString('hex'));
  assert.strictEqual((await promisify(crypto.scrypt)('a', 'b', 8)).length, 8);
  assert.strictEqual((await promisify(crypto.randomBytes)(9)).length, 9);
  assert.strictEqual(Buffer.from(await webcrypto.subtle.digest('SHA-256', Buffer.from('abc'))).toString('hex'), DIGESTS['RSA-SHA256']);
  const key = await webcrypto.subtle.importKey('raw', Buffer.from('Jefe'), { name: 'HMAC', hash: 'SHA-256' }, true, ['sign', 'verify']);
  const mac = await webcrypto.subtle.sign('HMAC', key, Buffer.from('what do ya want for nothing?'));
  assert.strictEqual(Buffer.from(mac).toString('hex').slice(0, 16), '5bdcc146bf60754e');
  assert(await webcrypto.subtle.verify('HMAC', key, mac, Buffer.from('what do ya want for nothing?')));
  assert(!await webcrypto.subtle.verify('HMAC', key, mac, Buffer.from('other')));
  const made = await webcrypto.subtle.generateKey({ name: 'HMAC', hash: 'SHA-256' }, true, ['sign']);
  assert.strictEqual((await webcrypto.subtle.exportKey('raw', made)).byteLength, 64);
})();
