const { createServer } = require('node:http');
const { Server } = require('socket.io');
const { io } = require('socket.io-client');

const http = createServer();
const server = new Server(http);
server.use((socket, next) => next(socket.handshake.auth.token === 'right' ? undefined : new Error('who are you')));
server.on('connection', (socket) => {
  socket.join('room');
  socket.on('sum', (a, b, answer) => answer(a + b));
  socket.on('bytes', (bytes) => socket.emit('bytes', Buffer.concat([bytes, Buffer.from([4])])));
  socket.on('tell', () => server.to('room').emit('told', { nested: [1, { two: null }] }));
});
http.listen(0, '127.0.0.1', async () => {
  const url = `http://127.0.0.1:${http.address().port}`;
  for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']]) {
    const client = io(url, { transports, auth: { token: 'right' }, forceNew: true });
    await new Promise((resolve) => client.on('connect', resolve));
    console.log(transports.join(), await client.timeout(20_000).emitWithAck('sum', 1, 2));
    const bytes = new Promise((resolve) => client.once('bytes', resolve));
    client.emit('bytes', Buffer.from([1, 2, 3]));
    console.log(Buffer.from(await bytes));
    const told = new Promise((resolve) => client.once('told', resolve));
    client.emit('tell');
    console.log(await told);
    const gone = new Promise((resolve) => client.once('disconnect', resolve));
    client.disconnect();
    console.log(await gone);
  }
  const stranger = io(url, { transports: ['websocket'], auth: { token: 'wrong' }, forceNew: true });
  stranger.on('connect_error', (error) => {
    console.log(error.message);
    stranger.disconnect();
    server.close(() => console.log('closed'));
  });
});
