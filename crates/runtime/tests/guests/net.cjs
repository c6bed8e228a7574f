'use strict';
// node:net, node:dgram, node:dns and node:http inside one VM.
const assert = require('assert');
const dgram = require('dgram');
const dns = require('dns');
const fs = require('fs');
const http = require('http');
const net = require('net');
const { once } = require('events');

async function echo() {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket));
  server.listen(0);
  await once(server, 'listening');
  const client = net.connect(server.address().port, 'localhost');
  const sent = Buffer.alloc(5_000_000, 'secure');
  client.end(sent);
  const received = Buffer.concat(await client.toArray());
  assert.ok(received.equals(sent));
  assert.strictEqual(client.bytesWritten, sent.length);
  server.close();
  await once(server, 'close');
}

async function refused() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  const [error] = await once(net.createServer().listen(port, '127.0.0.1'), 'error');
  assert.strictEqual(error.message, `listen EADDRINUSE: address already in use 127.0.0.1:${port}`);
  server.close();
  await once(server, 'close');
  const [gone] = await once(net.connect(port, '127.0.0.1'), 'error');
  assert.strictEqual(gone.message, `connect ECONNREFUSED 127.0.0.1:${port}`);
  const [outside] = await once(net.connect(80, '192.0.2.1'), 'error');
  assert.strictEqual(outside.code, 'EACCES');
  const [name] = await once(net.connect(80, 'example.com'), 'error');
  assert.strictEqual(name.message, 'getaddrinfo EACCES example.com');
  assert.throws(() => net.connect(70_000), { code: 'ERR_SOCKET_BAD_PORT' });
}

async function resets() {
  const server = net.createServer((socket) => socket.resetAndDestroy()).listen(0);
  await once(server, 'listening');
  const [error] = await once(net.connect(server.address().port), 'error');
  assert.strictEqual(error.code, 'ECONNRESET');
  server.close();
}

async function local() {
  const path = '/tmp/test.sock';
  const server = net.createServer((socket) => socket.end('local')).listen(path);
  await once(server, 'listening');
  assert.ok(fs.statSync(path).isSocket());
  const client = net.connect(path);
  assert.strictEqual(String(Buffer.concat(await client.toArray())), 'local');
  server.close();
  await once(server, 'close');
  assert.ok(!fs.existsSync(path));
  const [error] = await once(net.connect(path), 'error');
  assert.strictEqual(error.message, `connect ENOENT ${path}`);
}

async function neverRead() {
  const server = net.createServer((socket) => socket.pause()).listen(0);
  await once(server, 'listening');
  const client = net.connect(server.address().port);
  await once(client, 'connect');
  client.write(Buffer.alloc(1 << 20));
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.ok(client.writableLength > 0, 'what nobody reads waits in the writer');
  client.destroy();
  server.close();
}

async function datagrams() {
  const server = dgram.createSocket('udp4').bind(0);
  await once(server, 'listening');
  const client = dgram.createSocket('udp4');
  client.send('ping', server.address().port, 'localhost');
  const [message, sender] = await once(server, 'message');
  assert.strictEqual(String(message), 'ping');
  server.send('pong', sender.port, sender.address);
  const [answer] = await once(client, 'message');
  assert.strictEqual(String(answer), 'pong');
  client.close();
  server.close();
}

async function names() {
  const { address, family } = await dns.promises.lookup('localhost', { family: 4 });
  assert.deepStrictEqual([address, family], ['127.0.0.1', 4]);
  const { hostname } = await dns.promises.lookupService('127.0.0.1', 80);
  assert.strictEqual(hostname, 'localhost');
  fs.appendFileSync('/etc/hosts', '127.0.0.7 seven\n');
  assert.strictEqual((await dns.promises.lookup('seven')).address, '127.0.0.7');
  await assert.rejects(dns.promises.resolveMx('example.com'), { code: 'ECONNREFUSED' });
}

async function web() {
  const server = http.createServer((request, response) => {
    if (request.url === '/upgrade') return;
    response.setHeader('trailer', 'x-end');
    request.on('data', (chunk) => response.write(chunk));
    request.on('end', () => {
      response.addTrailers({ 'x-end': 'yes' });
      response.end();
    });
  });
  server.on('upgrade', (request, socket, head) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n');
    socket.write(head);
    socket.pipe(socket);
  });
  server.listen(0);
  await once(server, 'listening');
  const { port } = server.address();
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const ports = new Set();
  for (let i = 0; i < 3; i++) {
    const request = http.request({ port, agent, method: 'POST' });
    request.write('hello ');
    request.end('world');
    const [response] = await once(request, 'response');
    ports.add(response.socket.localPort);
    assert.strictEqual(String(Buffer.concat(await response.toArray())), 'hello world');
    assert.strictEqual(response.trailers['x-end'], 'yes');
  }
  assert.strictEqual(ports.size, 1, 'one connection for all');
  const upgrade = http.get({ port, path: '/upgrade', headers: { connection: 'upgrade', upgrade: 'echo' } });
  const [, socket] = await once(upgrade, 'upgrade');
  socket.end('raw');
  assert.strictEqual(String(Buffer.concat(await socket.toArray())), 'raw');
  const fetched = await fetch(`http://localhost:${port}/`, { method: 'POST', body: 'fetched' });
  assert.strictEqual(await fetched.text(), 'fetched');
  agent.destroy();
  server.closeAllConnections();
  server.close();
}

(async () => {
  for (const part of [echo, refused, resets, local, neverRead, datagrams, names, web]) {
    await part();
  }
  process.exitCode = 0;
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
