import { createServer } from 'node:http';
import fetch, { AbortError, FormData, Headers, Request } from 'node-fetch';

const server = createServer((request, response) => {
  let body = '';
  request.on('data', (chunk) => (body += chunk)).on('end', () => {
    if (request.url === '/gone') return response.writeHead(302, { location: '/here' }).end();
    if (request.url === '/never') return;
    response.setHeader('x-seen', request.headers['x-sent'] ?? 'none');
    response.end(JSON.stringify({ method: request.method, url: request.url, body: body.length }));
  });
}).listen(0, '127.0.0.1', async () => {
  const base = `http://127.0.0.1:${server.address().port}`;
  const first = await fetch(`${base}/a`, { headers: new Headers({ 'x-sent': 'yes' }) });
  console.log(first.status, first.ok, first.headers.get('x-seen'), await first.json());
  const post = await fetch(new Request(`${base}/p`, { method: 'POST', body: 'x'.repeat(100_000) }));
  console.log(await post.json());
  const moved = await fetch(`${base}/gone`);
  console.log(moved.redirected, new URL(moved.url).pathname, await moved.json());
  const manual = await fetch(`${base}/gone`, { redirect: 'manual' });
  console.log(manual.status, manual.headers.get('location'));
  const form = new FormData();
  form.set('a', '1');
  console.log((await (await fetch(`${base}/f`, { method: 'POST', body: form })).json()).body > 50);
  const controller = new AbortController();
  const aborted = fetch(`${base}/never`, { signal: controller.signal });
  controller.abort();
  await aborted.catch((error) => console.log(error instanceof AbortError, error.type));
  await fetch('http://127.0.0.1:1/').catch((error) => console.log(error.code, error.type));
  server.closeAllConnections();
  server.close();
});
