const express = require('express');
const app = express();
app.use(express.json());
app.get('/users/:id', (request, response) => response.json({ id: request.params.id, q: request.query }));
app.post('/echo', (request, response) => response.status(201).send(request.body));
app.use((error, request, response, next) => response.status(error.status ?? 500).send(error.message));
const server = app.listen(0, '127.0.0.1', async () => {
  const base = `http://127.0.0.1:${server.address().port}`;
  const show = async (path, init) => {
    const response = await fetch(base + path, init);
    console.log(response.status, response.headers.get('content-type'), response.headers.get('etag'), await response.text());
  };
  await show('/users/7?a=1&a=2');
  await show('/echo', { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"x":[1,2]}' });
  await show('/echo', { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{x' });
  await show('/none');
  server.close(() => console.log('closed'));
  server.closeAllConnections();
});
