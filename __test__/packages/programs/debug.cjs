process.env.DEBUG = 'app:*';
const debug = require('debug');
debug.enable('app:*,-app:quiet');
const log = debug('app:loud');
log.log = (...args) => console.log(args.length, String(args[0]).includes('app:loud'));
log('hello %s %o', 'world', { a: 1 });
console.log(debug('app:quiet').enabled, log.enabled);
