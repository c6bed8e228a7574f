const axios = require('axios');
const { createServer } = require('node:http');
const server = createServer((request, response) => {
  let body = '';
  request.on('data', (chunk) => (body += chunk)).on('end', () => {
    if (request.url === '/gone') return response.writeHead(302, { location: '/here' }).end();
    response.writeHead(request.url === '/bad' ? 400 : 200, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ url: request.url, method: request.method, body, type: request.headers['content-type'] }));
  });
}).listen(0, '127.0.0.1', async () => {
  const client = axios.create({ baseURL: `http://127.0.0.1:${server.address().port}` });
  console.log((await client.get('/a', { params: { b: 1 } })).data);
  console.log((await client.post('/p', { x: 1 })).data);
  console.log((await client.get('/gone')).data);
  await client.get('/bad').catch((error) => console.log(error.code, error.response.status, error.message));
  server.closeAllConnections();
  server.close();
});
