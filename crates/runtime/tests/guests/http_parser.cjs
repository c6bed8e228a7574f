'use strict';
const assert = require('assert');
const { duplexPair } = require('stream');
const http = require('http');
const { HTTPParser, ConnectionsList, methods, allMethods } = process.binding('http_parser');

assert.strictEqual(methods.length, 35);
assert.strictEqual(allMethods[HTTPParser.REQUEST], 'GET');

function parser(type = HTTPParser.REQUEST, ...rest) {
  const it = new HTTPParser();
  it.initialize(type, {}, ...rest);
  return it;
}
const bytes = (text) => Buffer.from(text, 'latin1');
const GET = bytes('GET / HTTP/1.1\r\nA: b \r\n\r\n');

// Any receiver, any argument.
assert.throws(() => HTTPParser(), { code: 'ERR_CONSTRUCT_CALL_REQUIRED' });
assert.throws(() => HTTPParser.prototype.execute.call({}, GET), TypeError);
assert.throws(() => parser().execute('GET'), { code: 'ERR_INVALID_ARG_TYPE' });
assert.throws(() => parser(3), { code: 'ERR_INVALID_ARG_TYPE' });
assert.throws(() => parser(1, 0, 0, {}), { code: 'ERR_INVALID_ARG_TYPE' });

// What Node hands over.
{
  const it = parser();
  let seen;
  it[HTTPParser.kOnHeadersComplete] = (...args) => { seen = args; };
  assert.strictEqual(it.execute(GET), GET.length);
  assert.deepStrictEqual(seen, [1, 1, ['A', 'b'], 1, '/', undefined, undefined, false, true]);
  assert.strictEqual(it.finish(), undefined);
}

// Limits: headers, their number in one call, chunk extensions.
{
  const it = parser(HTTPParser.REQUEST, 20);
  const error = it.execute(bytes(`GET /${'a'.repeat(30)} HTTP/1.1\r\n`));
  assert.strictEqual(error.message, 'Parse Error');
  assert.strictEqual(error.code, 'HPE_HEADER_OVERFLOW');
  assert.strictEqual(error.reason, 'Header overflow');
}
{
  const it = parser();
  const batches = [];
  it[HTTPParser.kOnHeaders] = (headers, url) => batches.push([headers.length, url]);
  it[HTTPParser.kOnHeadersComplete] = (major, minor, headers) => assert.strictEqual(headers, undefined);
  it.execute(bytes(`GET /x HTTP/1.1\r\n${'a: b\r\n'.repeat(70)}\r\n`));
  assert.deepStrictEqual(batches, [[62, '/x'], [62, ''], [16, '']]);
}
{
  const it = parser();
  const head = 'POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n';
  assert.strictEqual(it.execute(bytes(`${head}1;${'e'.repeat(16385)}`)).code, 'HPE_CHUNK_EXTENSIONS_OVERFLOW');
}

// An exception passes through execute(); the parser is of no use afterwards.
for (const index of [HTTPParser.kOnMessageBegin, HTTPParser.kOnHeadersComplete, HTTPParser.kOnMessageComplete]) {
  const it = parser();
  it[index] = () => { throw new Error('mine'); };
  assert.throws(() => it.execute(GET), { message: 'mine' });
  assert(it.execute(GET) instanceof Error);
}

// A callback may do anything to its parser.
for (const act of ['close', 'free', 'remove', 'pause', 'resume', 'unconsume', 'finish', 'getCurrentBuffer']) {
  for (const index of [0, 2, 3, 4]) {
    const it = parser(HTTPParser.REQUEST, 0, 0, new ConnectionsList());
    it[index] = () => { it[act](); };
    it.execute(bytes('POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhiGET / HTTP/1.1\r\n\r\n'));
  }
}
{
  const it = parser();
  it[HTTPParser.kOnMessageBegin] = () => assert.throws(() => it.execute(GET), { code: 'ERR_INVALID_STATE' });
  it.execute(GET);
}
{
  const it = parser();
  let completed = 0;
  it[HTTPParser.kOnMessageComplete] = () => completed++;
  it[HTTPParser.kOnHeadersComplete] = () => {
    it[HTTPParser.kOnHeadersComplete] = undefined;
    it.initialize(HTTPParser.RESPONSE, {});
    it.execute(bytes('HTTP/1.1 204 OK\r\n\r\n'));
  };
  it.execute(Buffer.concat([GET, GET]));
  assert.strictEqual(completed, 1);
}
{
  // The input that is read is not the guest's memory.
  const it = parser();
  const input = Buffer.from(GET);
  let url;
  it[HTTPParser.kOnMessageBegin] = () => input.fill(0);
  it[HTTPParser.kOnHeadersComplete] = (...args) => { url = args[4]; };
  assert.strictEqual(it.execute(input), input.length);
  assert.strictEqual(url, '/');
}
{
  const it = parser();
  it.pause();
  assert.strictEqual(it.execute(GET).code, 'HPE_PAUSED');
  it.resume();
  assert.strictEqual(it.execute(GET), GET.length);
  it.close();
  assert.strictEqual(it.execute(GET), undefined);
}

// Lists of connections.
{
  const list = new ConnectionsList();
  const [first, second] = [parser(1, 0, 0, list), parser(1, 0, 0, list)];
  assert.deepStrictEqual(list.all(), [first, second]);
  assert.deepStrictEqual(list.idle(), []);
  first.execute(GET);
  assert.deepStrictEqual(list.idle(), [first]);
  assert.deepStrictEqual(list.active(), [second]);
  assert.deepStrictEqual(list.expired(0, 0), []);
  setTimeout(() => {
    assert.deepStrictEqual(list.expired(1e9, 1e9), []);
    assert.deepStrictEqual(list.expired(1, 0), [second]);
    assert.deepStrictEqual(list.active(), []);
    second.remove();
    assert.deepStrictEqual(list.all(), [first]);
  }, 20);
}

// A server and a client over a pair of streams.
{
  const [left, right] = duplexPair();
  const server = http.createServer((request, response) => {
    const parts = [];
    request.on('data', (part) => parts.push(part));
    request.on('end', () => {
      response.setHeader('Trailer', 'T');
      response.write(Buffer.concat(parts));
      response.addTrailers({ T: request.trailers.sum });
      response.end();
    });
  });
  server.emit('connection', left);
  const request = http.request({ method: 'POST', createConnection: () => right, headers: { Trailer: 'sum' } });
  request.write('hello ');
  request.addTrailers({ sum: 'x' });
  request.end('world');
  request.on('response', (response) => {
    let text = '';
    response.setEncoding('utf8').on('data', (part) => { text += part; });
    response.on('end', () => {
      assert.strictEqual(text, 'hello world');
      assert.deepStrictEqual(response.trailers, { t: 'x' });
      left.destroy();
      right.destroy();
    });
  });
}

// A parser that is free keeps nothing of its last message.
{
  const it = new HTTPParser();
  const resource = { message: {} };
  it.initialize(HTTPParser.RESPONSE, resource);
  const kept = () => Reflect.ownKeys(it).some((key) => it[key] === resource);
  assert(kept());
  it.free();
  assert(!kept());
}
