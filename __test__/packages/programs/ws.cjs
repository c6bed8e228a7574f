const { WebSocket: Client, WebSocketServer } = require('ws');
const server = new WebSocketServer({ port: 0, host: '127.0.0.1' }, () => {
  server.on('connection', (socket) => socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary })));
  const client = new Client(`ws://127.0.0.1:${server.address().port}`);
  client.on('open', () => { client.send('text'); client.send(Buffer.from([1, 2, 255])); client.send('x'.repeat(70000)); });
  let seen = 0;
  client.on('message', (data, isBinary) => { console.log(isBinary, data.length, isBinary ? [...data] : String(data).slice(0, 8)); if (++seen === 3) client.close(1000, 'done'); });
  client.on('close', (code, reason) => { console.log(code, String(reason)); server.close(() => console.log('closed')); });
});
