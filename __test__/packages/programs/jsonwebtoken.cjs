const jwt = require('jsonwebtoken');
const token = jwt.sign({ sub: 'me', iat: 1700000000 }, 'secret', { noTimestamp: true });
console.log(token, jwt.verify(token, 'secret'));
try { jwt.verify(token, 'other'); } catch (error) { console.log(error.name, error.message); }
