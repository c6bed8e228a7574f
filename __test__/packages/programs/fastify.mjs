import Fastify from 'fastify';
const app = Fastify();
app.get('/sum/:a/:b', { schema: { params: { type: 'object', properties: { a: { type: 'number' }, b: { type: 'number' } } } } },
  async ({ params }) => ({ sum: params.a + params.b }));
app.post('/strict', { schema: { body: { type: 'object', required: ['name'], properties: { name: { type: 'string' } } } } },
  async ({ body }) => body);
const show = async (options) => {
  const { statusCode, headers, body } = await app.inject(options);
  console.log(statusCode, headers['content-type'], body);
};
await show({ url: '/sum/1/2' });
await show({ method: 'POST', url: '/strict', payload: { name: 'x' } });
await show({ method: 'POST', url: '/strict', payload: {} });
await app.listen({ port: 0, host: '127.0.0.1' });
const response = await fetch(`http://127.0.0.1:${app.server.address().port}/sum/3/4`);
console.log(response.status, await response.json());
await app.close();
