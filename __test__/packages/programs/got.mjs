import got, { HTTPError, TimeoutError } from 'got';
import http from 'node:http';
import zlib from 'node:zlib';
import { pipeline } from 'node:stream/promises';
import { Writable } from 'node:stream';
let tries = 0;
const server = http.createServer((q, s) => {
  let b = '';
  q.on('data', (d) => (b += d)).on('end', () => {
    if (q.url === '/json') {
      s.setHeader('content-type', 'application/json');
      s.end(JSON.stringify({ m: q.method, b, ua: q.headers['user-agent'], ct: q.headers['content-type'] }));
    } else if (q.url === '/gzip') {
      s.setHeader('content-encoding', 'gzip');
      s.end(zlib.gzipSync('zipped'));
    } else if (q.url === '/br') {
      s.setHeader('content-encoding', 'br');
      s.end(zlib.brotliCompressSync('brotli'));
    } else if (q.url === '/redirect') {
      s.statusCode = 302;
      s.setHeader('location', '/json');
      s.end();
    } else if (q.url === '/retry') {
      if (++tries < 3) {
        s.statusCode = 503;
        s.end();
      } else s.end('after ' + tries);
    } else if (q.url === '/cookie') {
      s.setHeader('set-cookie', 'a=1');
      s.end(String(q.headers.cookie));
    } else if (q.url.startsWith('/query')) s.end(q.url);
    else if (q.url === '/slow') {
    } else if (q.url === '/big') {
      s.end('x'.repeat(300000));
    } else {
      s.statusCode = 404;
      s.end('none');
    }
  });
});
await new Promise((r) => server.listen(0, r));
const base = `http://localhost:${server.address().port}`;
console.log(await got(base + '/json').json());
console.log(await got.post(base + '/json', { json: { a: 1 } }).json());
console.log(await got.put(base + '/json', { form: { a: 'b c' } }).json());
console.log(await got(base + '/gzip').text(), await got(base + '/br').text());
const r = await got(base + '/redirect');
console.log(r.statusCode, r.redirectUrls.length, r.url === base + '/json');
console.log(
  await got(base + '/retry', {
    retry: { limit: 3, calculateDelay: ({ attemptCount }) => (attemptCount > 3 ? 0 : 10) },
  }).text(),
);
console.log(await got(base + '/query', { searchParams: { a: 1, b: 'x y' } }).text());
await got(base + '/none', { retry: { limit: 0 } }).catch((e) =>
  console.log(e instanceof HTTPError, e.message.replace(base, ''), e.code, e.response.statusCode, e.response.body),
);
await got(base + '/slow', { timeout: { request: 100 }, retry: { limit: 0 } }).catch((e) =>
  console.log(e instanceof TimeoutError, e.code, e.event),
);
await got('http://localhost:1/', { retry: { limit: 0 } }).catch((e) => console.log(e.name, e.code));
let n = 0;
await pipeline(
  got.stream(base + '/big'),
  new Writable({
    write(c, _, d) {
      n += c.length;
      d();
    },
  }),
);
console.log(n);
const hooked = got.extend({
  prefixUrl: base,
  headers: { 'user-agent': 'mine' },
  hooks: {
    beforeRequest: [
      (o) => {
        o.headers['x-a'] = '1';
      },
    ],
    afterResponse: [
      (res) => {
        console.log('hook', res.statusCode);
        return res;
      },
    ],
  },
});
console.log(await hooked('json').json());
const p = got(base + '/slow');
setTimeout(() => p.cancel(), 20);
await p.catch((e) => console.log(e.name, p.isCanceled));
server.closeAllConnections();
server.close();
