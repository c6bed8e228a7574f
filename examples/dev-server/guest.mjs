// A server as anybody would write it. It knows nothing of where it runs.
import { createServer } from 'node:http';

const started = Date.now();
const server = createServer((request, response) => {
  if (request.url === '/health') {
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ ok: true }));
  } else if (request.url === '/events') {
    response.setHeader('content-type', 'text/event-stream');
    for (const part of ['built', 'served', 'done']) response.write(`data: ${part}\n\n`);
    response.end();
  } else {
    response.setHeader('content-type', 'text/plain');
    response.end(`hello from ${process.platform}, process ${process.pid}, port ${server.address().port}\n`);
  }
});
server.listen(3000, '127.0.0.1', () => console.log(`listening after ${Date.now() - started} ms`));
process.once('SIGTERM', () => server.close(() => process.exit(0)));
