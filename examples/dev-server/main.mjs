// Starts a server in a guest and drives it: no port of the host's is opened until `expose` asks for one.
import { readFile } from 'node:fs/promises';
import { NodeRuntime } from '../../dist/index.js';

const program = await readFile(new URL('guest.mjs', import.meta.url), 'utf8');
const runtime = await NodeRuntime.create({ permissions: { network: 'allow' } });
const server = await runtime.spawn(program, {
  filePath: '/workspace/server.mjs',
  onStdout: (bytes) => process.stdout.write(bytes),
  onStderr: (bytes) => process.stderr.write(bytes),
});
const { pid, host, port } = await runtime.waitForListener({ port: 3000 });
console.log(`process ${pid} of the guest listens on ${host}:${port}`);

const health = await runtime.fetch(3000, { path: '/health' });
console.log(`GET /health: ${health.status} ${health.body}`);
const page = await runtime.fetch(3000, { method: 'GET', path: '/' });
process.stdout.write(`GET /: ${page.status} ${page.text()}`);
const events = await runtime.fetch(3000, { path: '/events' });
for await (const chunk of events.stream().pipeThrough(new TextDecoderStream())) {
  process.stdout.write(chunk.replace(/\n\n/g, '\n'));
}

const exposed = await runtime.expose(3000);
const outside = await fetch(`${exposed.url}/health`);
console.log(`through ${exposed.url}: ${outside.status} ${await outside.text()}`);
await exposed.close();

const requests = 500;
const start = performance.now();
await Promise.all(Array.from({ length: requests }, () => runtime.fetch(3000, { path: '/health' })));
console.log(`${requests} requests at once: ${(performance.now() - start).toFixed(0)} ms`);

server.kill();
const { code, signal, usage } = await server.wait();
console.log(`ended with ${signal ?? `code ${code}`}; CPU ${usage.cpuMs.toFixed(0)} ms`);
await runtime.dispose();
