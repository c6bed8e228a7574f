import { createServer } from 'node:http';
import { Agent, Client, Pool, fetch, request, stream, MockAgent, setGlobalDispatcher, interceptors } from 'undici';
import { Writable } from 'node:stream';

const server = createServer((incoming, response) => {
  let body = '';
  incoming.on('data', (chunk) => (body += chunk)).on('end', () => {
    if (incoming.url === '/gone') return response.writeHead(302, { location: '/here' }).end();
    response.setHeader('x-method', incoming.method);
    response.end(`${incoming.url} ${body.length}`);
  });
}).listen(0, '127.0.0.1', async () => {
  const origin = `http://127.0.0.1:${server.address().port}`;
  const first = await request(`${origin}/a`);
  console.log(first.statusCode, first.headers['x-method'], await first.body.text());
  const post = await request(`${origin}/p`, { method: 'POST', body: 'x'.repeat(100_000) });
  console.log(await post.body.text());
  console.log(await (await fetch(`${origin}/gone`)).text());
  const agent = new Agent().compose(interceptors.redirect({ maxRedirections: 2 }));
  console.log(await (await request(`${origin}/gone`, { dispatcher: agent })).body.text());
  await agent.close();
  const pool = new Pool(origin, { connections: 4, pipelining: 2 });
  const many = await Promise.all(Array.from({ length: 20 }, async (_, index) => (await pool.request({ path: `/${index}`, method: 'GET' })).body.text()));
  console.log(many.join());
  await pool.close();
  let text = '';
  await stream(`${origin}/s`, { method: 'GET' }, () => new Writable({ write(chunk, _encoding, done) { text += chunk; done(); } }));
  console.log(text);
  const client = new Client('http://127.0.0.1:1');
  await client.request({ path: '/', method: 'GET' }).catch((error) => console.log(error.code));
  await client.close();
  const mock = new MockAgent();
  mock.disableNetConnect();
  mock.get('http://mock.test').intercept({ path: '/m' }).reply(200, 'mocked');
  console.log(await (await request('http://mock.test/m', { dispatcher: mock })).body.text());
  setGlobalDispatcher(new Agent({ keepAliveTimeout: 1 }));
  server.closeAllConnections();
  server.close();
});
