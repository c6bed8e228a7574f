import bcrypt from 'bcryptjs';
import * as jose from 'jose';
import { createSecretKey } from 'node:crypto';
const h = await bcrypt.hash('pw', 4);
console.log(
  h.slice(0, 7),
  await bcrypt.compare('pw', h),
  await bcrypt.compare('no', h),
  bcrypt.hashSync('a', '$2a$04$abcdefghijklmnopqrstuu'),
  bcrypt.getRounds(h),
);
const k = createSecretKey(Buffer.alloc(32, 1));
const t = await new jose.SignJWT({ a: 1 })
  .setProtectedHeader({ alg: 'HS256' })
  .setIssuedAt(1)
  .setExpirationTime(9999999999)
  .sign(k);
console.log(t, (await jose.jwtVerify(t, k)).payload);
for (const alg of ['RS256', 'PS256', 'ES256', 'EdDSA']) {
  const { publicKey, privateKey } = await jose.generateKeyPair(alg, { extractable: true });
  const j = await new jose.SignJWT({ alg }).setProtectedHeader({ alg }).sign(privateKey);
  console.log(
    (await jose.jwtVerify(j, publicKey)).payload,
    (await jose.exportJWK(publicKey)).kty,
    (await jose.exportPKCS8(privateKey)).split('\n')[0],
  );
  await jose.jwtVerify(j.slice(0, -6) + 'AAAAAA', publicKey).catch((e) => console.log(e.code));
}
const enc = await new jose.CompactEncrypt(Buffer.from('secret'))
  .setProtectedHeader({ alg: 'dir', enc: 'A256GCM' })
  .encrypt(k);
console.log(Buffer.from((await jose.compactDecrypt(enc, k)).plaintext).toString());
const ep = await jose.generateKeyPair('ECDH-ES+A128KW');
const e2 = await new jose.EncryptJWT({ z: 1 })
  .setProtectedHeader({ alg: 'ECDH-ES+A128KW', enc: 'A128CBC-HS256' })
  .encrypt(ep.publicKey);
console.log((await jose.jwtDecrypt(e2, ep.privateKey)).payload);
const ro = await jose.generateKeyPair('RSA-OAEP-256');
const e3 = await new jose.CompactEncrypt(Buffer.from('r'))
  .setProtectedHeader({ alg: 'RSA-OAEP-256', enc: 'A128GCM' })
  .encrypt(ro.publicKey);
console.log(Buffer.from((await jose.compactDecrypt(e3, ro.privateKey)).plaintext).toString());
const th = await jose.calculateJwkThumbprint({ kty: 'oct', k: 'AAAA' });
console.log(th);
