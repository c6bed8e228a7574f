// A server that speaks enough of Redis's protocol for its client.
const net = require('node:net');
const { Redis } = require('ioredis');

const values = new Map(), subscribers = new Map();
const bulk = (value) => (value === undefined ? '$-1\r\n' : `$${value.length}\r\n${value}\r\n`);
const list = (items) => `*${items.length}\r\n${items.map((item) => (typeof item === 'number' ? `:${item}\r\n` : bulk(item))).join('')}`;
const commands = {
  info: () => bulk('redis_version:7.0.0\r\nloading:0\r\n'),
  client: () => '+OK\r\n',
  hello: () => '-ERR unknown command \'HELLO\'\r\n',
  ping: () => '+PONG\r\n',
  set: (key, value) => { values.set(key, value); return '+OK\r\n'; },
  get: (key) => bulk(values.get(key)),
  incr: (key) => { values.set(key, String(Number(values.get(key) ?? 0) + 1)); return `:${values.get(key)}\r\n`; },
  mget: (...keys) => list(keys.map((key) => values.get(key))),
  hgetall: () => list(['a', '1', 'b', '2']),
  subscribe: function (channel) { subscribers.set(channel, this); return list(['subscribe', channel, 1]); },
  publish: (channel, text) => { subscribers.get(channel)?.write(list(['message', channel, text])); return ':1\r\n'; },
  quit: function () { this.end('+OK\r\n'); return ''; },
};
const server = net.createServer((socket) => {
  let data = '', queued;
  const write = (reply) => socket.writable && socket.write(reply, 'latin1');
  socket.setEncoding('latin1').on('error', () => {}).on('data', (chunk) => {
    data += chunk;
    for (;;) {
      const head = /^\*(\d+)\r\n/.exec(data);
      if (head === null) return;
      let rest = data.slice(head[0].length);
      const args = [];
      for (let index = 0; index < Number(head[1]); index++) {
        const size = /^\$(\d+)\r\n/.exec(rest);
        if (size === null) return;
        const from = size[0].length, to = from + Number(size[1]);
        if (rest.length < to + 2) return;
        args.push(rest.slice(from, to));
        rest = rest.slice(to + 2);
      }
      data = rest;
      const [name, ...given] = args;
      const run = () => (commands[name.toLowerCase()] ?? (() => `-ERR unknown command '${name}'\r\n`)).apply(socket, given);
      if (name === 'multi') { queued = []; write('+OK\r\n'); }
      else if (name === 'exec') { write(`*${queued.length}\r\n${queued.map((task) => task()).join('')}`); queued = undefined; }
      else if (queued !== undefined) { queued.push(run); write('+QUEUED\r\n'); }
      else write(run());
    }
  });
}).listen(0, '127.0.0.1', async () => {
  const options = { host: '127.0.0.1', port: server.address().port };
  const redis = new Redis(options);
  console.log(await redis.ping(), await redis.set('k', 'wört'), await redis.get('k'), await redis.get('none'));
  console.log(await redis.mget('k', 'none'), await redis.hgetall('h'));
  console.log(await redis.pipeline().incr('n').incr('n').get('n').exec());
  console.log(await redis.multi().incr('n').get('k').exec());
  await redis.call('nonsense').catch((error) => console.log(error.name, error.message));
  const listener = new Redis(options);
  const heard = new Promise((resolve) => listener.on('message', (channel, text) => resolve([channel, text])));
  console.log(await listener.subscribe('news'));
  console.log(await redis.publish('news', 'hello'), await heard);
  listener.disconnect();
  console.log(await redis.quit());
  const nobody = new Redis({ host: '127.0.0.1', port: 1, retryStrategy: null, lazyConnect: true });
  nobody.on('error', (error) => console.log('error', error.code));
  await nobody.connect().catch((error) => console.log(error.message));
  server.close(() => console.log('closed'));
});
