const winston = require('winston');
const fs = require('fs'),
  os = require('os'),
  path = require('path');
const f = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'w-')), 'a.log');
const { combine, json, printf, label, colorize, splat, errors } = winston.format;
const l = winston.createLogger({
  level: 'debug',
  format: combine(errors({ stack: false }), splat(), label({ label: 'L' }), json()),
  transports: [
    new winston.transports.Console({
      format: combine(
        colorize(),
        printf((i) => `${i.level} ${i.label} ${i.message}`),
      ),
    }),
    new winston.transports.File({ filename: f }),
  ],
});
l.info('hello %s', 'you', { a: 1 });
l.error(new Error('bad'));
l.debug('dbg');
l.silly('no');
const c = l.child({ req: 7 });
c.warn('child');
l.on('finish', () =>
  setTimeout(() => {
    console.log(fs.readFileSync(f, 'utf8'));
  }, 50),
);
l.end();
