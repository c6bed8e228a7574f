// HTTP/2 against hostile guests and peers: wrong receivers and arguments, and frames that no honest peer sends.
const assert = require('assert');
const http2 = require('http2');
const net = require('net');
const { once } = require('events');

const MAGIC = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
const { constants } = http2;

function frame(type, flags, stream, payload = Buffer.alloc(0)) {
  const header = Buffer.alloc(9);
  header.writeUIntBE(payload.length, 0, 3);
  header[3] = type;
  header[4] = flags;
  header.writeUInt32BE(stream, 5);
  return Buffer.concat([header, payload]);
}

const SETTINGS = frame(4, 0, 0);
// :method GET, :scheme http, :path /, :authority x
const REQUEST = Buffer.from('828684410178', 'hex');

/** Connects by hand, writes, and answers how the session and the connection ended, and the frames that came. */
async function attack(write, options) {
  const server = http2.createServer(options);
  let error = null;
  let streams = 0;
  server.on('sessionError', (found) => { error = found; });
  server.on('stream', (stream, headers) => {
    streams++;
    stream.on('error', () => {});
    stream.resume();
    if (headers[':path'] === '/') { stream.respond(); stream.end('x'); }
  });
  await once(server.listen(0), 'listening');
  const socket = net.connect(server.address().port);
  socket.on('error', () => {});
  const chunks = [];
  socket.on('data', (chunk) => chunks.push(chunk));
  const closed = once(socket, 'close');
  await once(socket, 'connect');
  await write(socket);
  await closed;
  server.close();
  const frames = [];
  let rest = Buffer.concat(chunks);
  while (rest.length >= 9) {
    const length = rest.readUIntBE(0, 3);
    frames.push({ type: rest[3], stream: rest.readUInt32BE(5), payload: rest.subarray(9, 9 + length) });
    rest = rest.subarray(9 + length);
  }
  return { error, streams, frames, resets: frames.filter(({ type }) => type === 3).map(({ payload }) => payload.readUInt32BE(0)) };
}

async function peers() {
  // No preface.
  let end = await attack((socket) => socket.end('GET / HTTP/1.1\r\n\r\n'));
  assert.strictEqual(end.error.code, 'ERR_HTTP2_ERROR');

  // A header block without end: CONTINUATION after CONTINUATION.
  end = await attack((socket) => {
    socket.write(MAGIC);
    socket.write(SETTINGS);
    socket.write(frame(1, 0, 1, REQUEST));
    for (let i = 0; i < 64; i++) socket.write(frame(9, 0, 1));
  });
  assert.notStrictEqual(end.error, null);

  // Rapid reset.
  end = await attack((socket) => {
    socket.write(MAGIC);
    socket.write(SETTINGS);
    for (let i = 0; i < 1200; i++) {
      socket.write(Buffer.concat([frame(1, 4, 2 * i + 1, REQUEST), frame(3, 0, 2 * i + 1, Buffer.from([0, 0, 0, 8]))]));
    }
  }, { streamResetBurst: 100, streamResetRate: 1 });
  assert.notStrictEqual(end.error, null);
  assert(end.streams <= 1200);

  // Empty DATA frames without end.
  end = await attack((socket) => {
    socket.write(MAGIC);
    socket.write(SETTINGS);
    socket.write(frame(1, 4, 1, REQUEST));
    for (let i = 0; i < 40; i++) socket.write(frame(0, 0, 1));
  }, { maxSessionInvalidFrames: 10 });
  assert.strictEqual(end.error.code, 'ERR_HTTP2_TOO_MANY_INVALID_FRAMES');

  // A ping that was not asked for is acknowledged.
  end = await attack((socket) => {
    socket.write(MAGIC);
    socket.write(SETTINGS);
    socket.write(frame(6, 1, 0, Buffer.alloc(8)));
  });
  assert.strictEqual(end.error.errno, -505);

  // Header fields beyond what was allowed: the stream ends, not the connection.
  const long = Buffer.concat([REQUEST, Buffer.from([0x40, 1, 0x61, 0x7f, 0x81, 0x7f]), Buffer.alloc(0x7f + 0x3f81, 'b')]);
  end = await attack((socket) => {
    socket.write(MAGIC);
    socket.write(SETTINGS);
    socket.write(frame(1, 5, 1, long.subarray(0, 16000)));
    socket.write(frame(7, 0, 0, Buffer.alloc(8)));
    socket.end();
  }, { settings: { maxHeaderListSize: 100 } });
  assert.strictEqual(end.streams, 0);

  // What is no HTTP message ends its stream: no path; a body that is not as long as it says; a field of HTTP/1.
  for (const block of ['8286410178', '8286844101785c0135', '8286844101780003666f6f', '828684410178400a636f6e6e656374696f6e0161']) {
    end = await attack((socket) => {
      socket.write(MAGIC);
      socket.write(SETTINGS);
      socket.write(frame(1, 5, 1, Buffer.from(block, 'hex')));
      socket.write(frame(1, 5, 3, REQUEST));
      setTimeout(() => socket.end(frame(7, 0, 0, Buffer.alloc(8))), 50);
    });
    if (block.endsWith('666f6f')) continue; // Not even a header block.
    assert.deepStrictEqual(end.resets, [constants.NGHTTP2_PROTOCOL_ERROR], block);
    assert.strictEqual(end.streams, 1, block);
  }

  // Noise.
  for (let seed = 1; seed < 60; seed++) {
    let state = seed;
    const next = () => (state = (state * 1103515245 + 12345) % 2147483648) >> 8;
    await attack((socket) => {
      socket.write(MAGIC);
      if (seed % 2) socket.write(SETTINGS);
      for (let i = 0; i < 12; i++) {
        const payload = Buffer.from(Array.from({ length: next() % 40 }, () => next() & 255));
        socket.write(frame(next() % 13, next() & 255, next() % 6, payload));
      }
      socket.end();
    });
  }
}

/** Every method with every receiver and odd arguments: errors are fine, ends are not. */
async function handles() {
  const server = http2.createServer((request, response) => response.end('x'));
  await once(server.listen(0), 'listening');
  const client = http2.connect(`http://localhost:${server.address().port}`);
  await once(client, 'connect');
  const request = client.request({ ':path': '/' });
  await once(request, 'response');
  const handleOf = (object) => object[Object.getOwnPropertySymbols(object).find((symbol) => symbol.description === 'kHandle')];
  const session = handleOf(client);
  const stream = handleOf(request);
  assert(session && stream);
  const values = [undefined, null, -1, 1e10, NaN, 'x', '\0\0', {}, [], ['\0', 1], ['a\0b\0\0', 7], [{}, {}], Symbol.iterator, () => {},
    Buffer.alloc(3), new Uint8Array(8), session, stream, { valueOf() { throw new Error('no'); } }];
  const methods = (object) => {
    const names = [];
    for (let proto = Object.getPrototypeOf(object); proto && proto !== Object.prototype; proto = Object.getPrototypeOf(proto)) {
      names.push(...Object.getOwnPropertyNames(proto));
    }
    return names.filter((name) => !['constructor', 'destroy', 'receive'].includes(name));
  };
  for (const owner of [session, stream]) {
    for (const name of methods(owner)) {
      let method;
      try { method = owner[name]; } catch { continue; }
      if (typeof method !== 'function') continue;
      for (const receiver of [owner, owner === session ? stream : session, {}, process]) {
        for (const a of values) {
          for (const b of [undefined, 1, () => {}, new Uint8Array(8)]) {
            try { method.call(receiver, a, b, a, b); } catch { /* as it should */ }
          }
        }
      }
    }
  }
  const Session = session.constructor;
  for (const value of values) {
    try { new Session(value); } catch { /* as it should */ }
  }
  assert.throws(() => Session(0));
  assert.throws(() => new stream.constructor());
  // A session without a socket, of which the library knows nothing.
  process.on('uncaughtException', (error) => assert(error instanceof TypeError));
  const lonely = new Session(0);
  lonely.receive(Buffer.from(MAGIC));
  lonely.receive(Buffer.concat([SETTINGS, frame(1, 5, 1, REQUEST)]));
  lonely.destroy(0, false);
  lonely.receive(SETTINGS);
  // One that destroys itself while it reads.
  const odd = new Session(0);
  odd.ondone = () => odd.receive(SETTINGS);
  odd.receive(Buffer.from(MAGIC));
  odd.receive(SETTINGS);
  odd.destroy(2, true);
  for (const other of [client, request]) { other.on('error', () => {}); other.destroy(); }
  server.close();
  server.on('session', (session) => session.destroy());
}

peers().then(handles).then(() => setTimeout(() => process.exit(0), 50), (error) => { console.error(error); process.exit(1); });
