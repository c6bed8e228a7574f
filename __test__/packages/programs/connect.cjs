const connect = require('connect');
const http = require('node:http');

const app = connect();
app.use((request, response, next) => {
  response.setHeader('x-first', request.originalUrl);
  next();
});
app.use('/api', (request, response) => response.end(`api ${request.url}`));
app.use('/fail', () => {
  throw Object.assign(new Error('broken'), { status: 418 });
});
app.use((error, request, response, next) => {
  response.statusCode = error.status;
  response.end(error.message);
});
const server = http.createServer(app).listen(0, '127.0.0.1', async () => {
  for (const path of ['/api/users?x=1', '/fail', '/nothing']) {
    const response = await fetch(`http://127.0.0.1:${server.address().port}${path}`);
    console.log(path, response.status, response.headers.get('x-first'), await response.text());
  }
  server.close();
  server.closeAllConnections();
});
