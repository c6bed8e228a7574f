const pino = require('pino');
const lines = [];
const logger = pino({ base: null, timestamp: false, redact: ['secret'] }, { write: (line) => lines.push(line) });
logger.info({ a: 1, secret: 'x' }, 'hello %s', 'world');
logger.child({ module: 'm' }).error(new TypeError('bad'));
console.log(lines[0], JSON.parse(lines[1]).err.type);
const sync = pino({ base: null, timestamp: false }, pino.destination({ fd: 1, sync: true }));
sync.warn('to stdout');
