const Koa = require('koa');
const app = new Koa();
app.use(async (context, next) => { await next(); context.set('x-time', 'some'); });
app.use(async (context) => { if (context.path === '/boom') context.throw(418, 'teapot'); context.body = { path: context.path, query: context.query }; });
app.silent = true;
const server = app.listen(0, '127.0.0.1', async () => {
  for (const path of ['/a?b=c', '/boom']) {
    const response = await fetch(`http://127.0.0.1:${server.address().port}${path}`);
    console.log(response.status, response.headers.get('x-time'), await response.text());
  }
  server.closeAllConnections();
  server.close();
});
