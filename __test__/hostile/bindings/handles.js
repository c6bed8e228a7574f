// Handles of one kind under the methods of another, and handles that are closed in the middle of their own callbacks.
// @outcome any
// @options {"cpuTimeLimitMs": 3000}
process.on('uncaughtException', () => {});
process.on('unhandledRejection', () => {});
const net = require('net'), dgram = require('dgram'), zlib = require('zlib'), crypto = require('crypto'), fs = require('fs'), vm = require('vm');
const { port1, port2 } = new MessageChannel();
const handles = [];
const server = net.createServer((socket) => { handles.push(socket._handle); socket.destroy() });
server.listen(7000, () => {
  const socket = net.connect(7000, () => {
    const udp = dgram.createSocket('udp4').bind(0);
    const symbol = (object, text) => object[Object.getOwnPropertySymbols(object).find((one) => String(one).includes(text))];
    handles.push(server._handle, socket._handle, symbol(udp, 'state')?.handle, zlib.createGzip()._handle, crypto.createHash('sha1')[Object.getOwnPropertySymbols(crypto.createHash('sha1'))[0]], symbol(crypto.createSecretKey(Buffer.alloc(9)), 'kHandle'), port1, port2, fs.watch('/tmp')._handle, new vm.Script('1'), process.stdout._handle, symbol(fs.promises, 'x'));
    const live = handles.filter(Boolean);
    const methods = new Map();
    for (const handle of live) for (let o = handle; o && o !== Object.prototype; o = Object.getPrototypeOf(o)) for (const key of Reflect.ownKeys(o)) {
      const d = Object.getOwnPropertyDescriptor(o, key);
      for (const f of [d.value, d.get, d.set]) if (typeof f === 'function' && key !== 'constructor') methods.set(f, key);
    }
    for (const [f] of methods) for (const handle of live) {
      try { f.call(handle, live[0], 1, Buffer.alloc(3), 0) } catch {}
      try { f.call(Object.create(handle), 1) } catch {}
      try { f.call(new Proxy(handle, {}), 1) } catch {}
      try { f.call(Object.getPrototypeOf(handle)) } catch {}
    }
    setTimeout(() => process.reallyExit(0), 50);
  });
  socket.on('close', () => socket.destroy());
});
