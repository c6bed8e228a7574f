import { Hono } from 'hono';
const app = new Hono();
app.use(async (context, next) => { await next(); context.header('x-seen', '1'); });
app.get('/hello/:name', (context) => context.json({ hello: context.req.param('name') }));
app.post('/form', async (context) => context.text(JSON.stringify(await context.req.parseBody())));
const form = new FormData();
form.set('a', 'b');
for (const request of [new Request('http://x/hello/you'), new Request('http://x/form', { method: 'POST', body: form }), new Request('http://x/no')]) {
  const response = await app.fetch(request);
  console.log(response.status, response.headers.get('x-seen'), await response.text());
}
