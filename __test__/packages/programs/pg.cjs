// A server that speaks enough of PostgreSQL's protocol for its client: start-up, a password, simple and prepared queries.
const net = require('node:net');
const { Client, Pool, types } = require('pg');

const message = (type, ...parts) => {
  const body = Buffer.concat(parts);
  const head = Buffer.alloc(5);
  head.write(type, 0);
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
};
const int16 = (number) => { const bytes = Buffer.alloc(2); bytes.writeInt16BE(number); return bytes; };
const int32 = (number) => { const bytes = Buffer.alloc(4); bytes.writeInt32BE(number); return bytes; };
const text = (value) => Buffer.from(`${value}\0`);
const ready = () => message('Z', Buffer.from('I'));
const columns = (list) => message('T', int16(list.length), ...list.flatMap(([name, oid]) => [text(name), int32(0), int16(0), int32(oid), int16(-1), int32(-1), int16(0)]));
const row = (values) => message('D', int16(values.length), ...values.flatMap((value) => (value === null ? [int32(-1)] : [int32(Buffer.byteLength(value)), Buffer.from(value)])));
const done = (tag) => message('C', text(tag));
const INT = 23, TEXT = 25, BOOL = 16, JSON_OID = 114;

const server = net.createServer((socket) => {
  let data = Buffer.alloc(0), started = false, bound = [], sql = '';
  socket.on('error', () => {});
  socket.on('data', (chunk) => {
    data = Buffer.concat([data, chunk]);
    for (;;) {
      const at = started ? 1 : 0;
      if (data.length < at + 4) return;
      const length = data.readInt32BE(at);
      if (data.length < at + length) return;
      const type = started ? String.fromCharCode(data[0]) : 'start';
      const body = data.subarray(at + 4, at + length);
      data = data.subarray(at + length);
      if (type === 'start') { started = true; socket.write(message('R', int32(3))); }
      else if (type === 'p') {
        if (body.toString() !== 'secret\0') { socket.end(message('E', Buffer.from('SFATAL\0C28P01\0Mpassword authentication failed\0\0'))); return; }
        socket.write(Buffer.concat([message('R', int32(0)), message('S', text('server_version'), text('16.0')), message('K', int32(1), int32(2)), ready()]));
      } else if (type === 'Q') {
        const query = body.toString().slice(0, -1);
        if (query === 'select broken') socket.write(Buffer.concat([message('E', Buffer.from('SERROR\0C42703\0Mcolumn "broken" does not exist\0\0')), ready()]));
        else if (query.startsWith('select')) socket.write(Buffer.concat([columns([['n', INT], ['t', TEXT], ['b', BOOL], ['j', JSON_OID]]), row(['1', 'one', 't', '{"a":[1]}']), row(['2', null, 'f', 'null']), done('SELECT 2'), ready()]));
        else socket.write(Buffer.concat([done(query.toUpperCase()), ready()]));
      } else if (type === 'P') { sql = body.toString().split('\0')[1]; socket.write(message('1')); }
      else if (type === 'B') {
        let offset = body.indexOf(0) + 1;
        offset = body.indexOf(0, offset) + 1;
        offset += 2 + 2 * body.readInt16BE(offset);
        const count = body.readInt16BE(offset);
        offset += 2;
        bound = [];
        for (let index = 0; index < count; index++) {
          const size = body.readInt32BE(offset);
          offset += 4;
          bound.push(size < 0 ? null : body.toString('utf8', offset, offset + size));
          offset += Math.max(size, 0);
        }
        socket.write(message('2'));
      } else if (type === 'D') socket.write(columns([['sql', TEXT], ['values', JSON_OID]]));
      else if (type === 'E') socket.write(Buffer.concat([row([sql, JSON.stringify(bound)]), done('SELECT 1')]));
      else if (type === 'S') socket.write(ready());
      else if (type === 'X') socket.end();
    }
  });
}).listen(0, '127.0.0.1', async () => {
  const options = { host: '127.0.0.1', port: server.address().port, user: 'u', password: 'secret', database: 'd', ssl: false };
  const client = new Client(options);
  await client.connect();
  const simple = await client.query('select everything');
  console.log(simple.rowCount, simple.rows, simple.fields.map((field) => field.name));
  console.log((await client.query('select $1::int, $2', [42, null])).rows);
  console.log((await client.query({ name: 'kept', text: 'select $1', values: [new Date(0).toISOString()] })).rows);
  await client.query('select broken').catch((error) => console.log(error.code, error.message));
  console.log((await client.query('begin')).command);
  await client.end();
  types.setTypeParser(INT, (value) => `int ${value}`);
  const pool = new Pool({ ...options, max: 3 });
  const many = await Promise.all(Array.from({ length: 9 }, () => pool.query('select everything')));
  console.log(many.length, many[8].rows[0].n, pool.totalCount <= 3);
  await pool.end();
  const wrong = new Client({ ...options, password: 'wrong' });
  await wrong.connect().catch((error) => console.log(error.code, error.message));
  await new Client({ ...options, port: 1 }).connect().catch((error) => console.log(error.code));
  server.close(() => console.log('closed'));
});
