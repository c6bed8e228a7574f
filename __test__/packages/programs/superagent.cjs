const request = require('superagent');
const http = require('http');
const server = http.createServer((q, s) => {
  let b = [];
  q.on('data', (d) => b.push(d)).on('end', () => {
    b = Buffer.concat(b).toString();
    if (q.url.startsWith('/json')) {
      s.setHeader('content-type', 'application/json');
      s.end(
        JSON.stringify({
          m: q.method,
          u: q.url,
          b: b.replace(/-{10,}[\w-]+/g, '--B'),
          t: (q.headers['content-type'] || '').split(';')[0],
        }),
      );
    } else if (q.url === '/r') {
      s.writeHead(301, { location: '/json' });
      s.end();
    } else {
      s.statusCode = 500;
      s.end('bad');
    }
  });
});
server.listen(0, async () => {
  const u = 'http://127.0.0.1:' + server.address().port;
  console.log(
    (
      await request
        .get(u + '/json')
        .query({ a: 1 })
        .set('X-A', 'b')
    ).body,
  );
  console.log((await request.post(u + '/json').send({ x: [1] })).body);
  console.log(
    (
      await request
        .post(u + '/json')
        .type('form')
        .send({ y: '1 2' })
    ).body,
  );
  console.log(
    (
      await request
        .post(u + '/json')
        .field('f', 'v')
        .attach('file', Buffer.from('data'), 'a.txt')
    ).body,
  );
  const r = await request.get(u + '/r');
  console.log(r.redirects.length, r.body.m);
  try {
    await request.get(u + '/x');
  } catch (e) {
    console.log(e.status, e.message, e.response.text);
  }
  server.close();
});
