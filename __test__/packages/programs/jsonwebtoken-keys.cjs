const jwt = require('jsonwebtoken');
const { generateKeyPairSync } = require('node:crypto');
const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const signed = jwt.sign({ a: 1 }, privateKey, { algorithm: 'RS256', noTimestamp: true });
console.log(jwt.verify(signed, publicKey, { algorithms: ['RS256'] }));
const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
console.log(jwt.verify(jwt.sign({ b: 2 }, ec.privateKey, { algorithm: 'ES256', noTimestamp: true }), ec.publicKey));
