const express = require('express'),
  bodyParser = require('body-parser'),
  multer = require('multer'),
  cors = require('cors'),
  helmet = require('helmet'),
  cookieParser = require('cookie-parser'),
  compression = require('compression'),
  morgan = require('morgan');
const app = express();
const logs = [];
app.use(morgan(':method :url :status', { stream: { write: (l) => logs.push(l) } }));
app.use(helmet());
app.use(cors({ origin: 'http://a.test', credentials: true }));
app.use(cookieParser('sec'));
app.use(compression({ threshold: 10 }));
app.use(bodyParser.json({ limit: '1kb' }));
app.use(bodyParser.urlencoded({ extended: true }));
const up = multer({ storage: multer.memoryStorage(), limits: { fileSize: 100 } });
app.post('/json', (q, r) => r.json({ got: q.body }));
app.post('/up', up.array('f', 3), (q, r) =>
  r.json({ files: q.files.map((f) => [f.originalname, f.mimetype, f.size, f.buffer.toString()]), body: { ...q.body } }),
);
app.get('/c', (q, r) => {
  r.cookie('n', 'v', { signed: true, httpOnly: true });
  r.json({ c: q.cookies, s: q.signedCookies });
});
app.get('/big', (q, r) => r.send('y'.repeat(1000)));
app.use((e, q, r, n) => r.status(e.status || 500).json({ e: e.message, t: e.type || e.code }));
const s = app.listen(0, async () => {
  const u = 'http://localhost:' + s.address().port;
  const j = async (r) => [r.status, await r.text()];
  const h = { 'content-type': 'application/json' };
  console.log(
    await j(await fetch(u + '/json', { method: 'POST', headers: h, body: '{"a":1}' })),
    await j(await fetch(u + '/json', { method: 'POST', headers: h, body: '{bad' })),
    await j(await fetch(u + '/json', { method: 'POST', headers: h, body: JSON.stringify('x'.repeat(2000)) })),
    await j(await fetch(u + '/json', { method: 'POST', body: new URLSearchParams({ 'a[b]': 'c' }) })),
  );
  const fd = new FormData();
  fd.append('k', 'v');
  fd.append('f', new Blob(['hello'], { type: 'text/plain' }), 'h.txt');
  console.log(await j(await fetch(u + '/up', { method: 'POST', body: fd })));
  const f2 = new FormData();
  f2.append('f', new Blob(['z'.repeat(200)]), 'z');
  console.log(await j(await fetch(u + '/up', { method: 'POST', body: f2 })));
  const c = await fetch(u + '/c');
  const ck = c.headers.get('set-cookie');
  console.log(ck, await j(await fetch(u + '/c', { headers: { cookie: ck.split(';')[0] + '; p=q' } })));
  const b = await fetch(u + '/big');
  console.log(
    b.headers.get('content-encoding'),
    (await b.text()).length,
    [...b.headers.keys()].sort().join(),
    b.headers.get('content-security-policy'),
  );
  const o = await fetch(u + '/json', { method: 'OPTIONS', headers: { origin: 'http://a.test' } });
  console.log(o.status, o.headers.get('access-control-allow-origin'), o.headers.get('access-control-allow-methods'));
  console.log(logs.join(''));
  s.close();
  s.closeAllConnections();
});
