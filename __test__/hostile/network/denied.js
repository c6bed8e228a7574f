// Every way out of a VM without a permission: refused, and nothing connects.
// @outcome ok
// @options {"cpuTimeLimitMs": 2500, "wallTimeLimitMs": 15000}
// @within 15000
// @each fetch('http://HOST/')
// @each fetch('https://HOST/')
// @each new Promise((y, n) => require('http').get({ host: 'HOST' }, y).on('error', n))
// @each new Promise((y, n) => require('https').get({ host: 'HOST' }, y).on('error', n))
// @each new Promise((y, n) => require('net').connect(80, 'HOST', y).on('error', n))
// @each new Promise((y, n) => require('tls').connect(443, 'HOST', y).on('error', n))
// @each new Promise((y, n) => { const c = require('http2').connect('http://HOST', y); c.on('error', n) })
// @each new Promise((y, n) => require('dgram').createSocket('udp4').on('error', n).send('x', 53, 'HOST', (e) => e ? n(e) : y()))
// @each new Promise((y, n) => { const d = require('dgram').createSocket('udp4').on('error', n); d.connect(53, 'HOST', (e) => e ? n(e) : y()) })
// @each new Promise((y, n) => { const w = new WebSocket('ws://HOST/'); w.onopen = y; w.onerror = n })
// @each new Promise((y, n) => require('http').request({ host: 'HOST', lookup: (h, o, f) => f(null, [{ address: '169.254.169.254', family: 4 }], 4) }, y).on('error', n).end())
// @each new Promise((y, n) => require('http').request({ host: 'HOST', createConnection: () => require('net').connect(80, '1.1.1.1') }, y).on('error', n).end())
// @each new Promise((y, n) => require('http').request({ host: 'HOST', agent: new (require('http').Agent)({ keepAlive: true }) }, y).on('error', n).end())
// @each new Promise((y, n) => require('net').connect({ path: '/var/run/docker.sock' }, y).on('error', n))
// @each new Promise((y, n) => require('net').connect({ path: '\0abstract' }, y).on('error', n))
// @each new Promise((y, n) => require('http').get({ socketPath: '/run/systemd/private' }, y).on('error', n))
// @each new Promise((y, n) => { const s = new (require('net').Socket)(); s._handle = null; s.connect({ port: 80, host: 'HOST', localAddress: '0.0.0.0' }, y).on('error', n) })
// @each new Promise((y, n) => require('net').connect({ port: 80, host: 'HOST', autoSelectFamily: true }, y).on('error', n))
// @each new Promise((y, n) => new (require('dns').Resolver)().resolve4('HOST.example.com', (e, a) => e ? n(e) : y(a)))
// @each require('dns').promises.resolve('HOST.example.com')
// @each require('dns').promises.resolveTxt('HOST.example.com')
// @each (() => { const r = new (require('dns').promises.Resolver)(); r.setServers(['8.8.8.8']); return r.resolve4('example.com') })()
// @each new Promise((y, n) => require('child_process').exec('curl http://HOST/ || wget http://HOST/ || nc HOST 80', (e) => e ? n(e) : y()))
// @each import('http://HOST/x.mjs')
// @each import('https://HOST/x.mjs')
const hosts = ['1.1.1.1', '169.254.169.254', '[::ffff:169.254.169.254]', '[::ffff:a9fe:a9fe]', '[64:ff9b::a9fe:a9fe]', '[2002:7f00:1::]', '[fd00:ec2::254]', '100.100.100.200', '192.168.0.1', '10.0.0.1', '0xa9fea9fe', '2852039166', '10.1', '[fe80::1%25lo]'];
const isNode = (text) => text.replace(/^\[|\]$/g, '').replace('%25', '%');
const attempts = hosts.map((host) => (async () => {
  const HOST_URL = host, HOST_NAME = isNode(host);
  const code = `EACH`;
  const filled = code.replace(/:\/\/HOST/g, '://' + HOST_URL).replace(/HOST/g, HOST_NAME);
  const value = await Promise.race([eval(filled), new Promise((_, n) => setTimeout(() => n(new Error('silence')), 1500))]);
  throw Object.assign(new Error('reached ' + host), { reached: true });
})());
Promise.allSettled(attempts).then((results) => {
  const reached = results.filter((result) => result.reason?.reached);
  if (reached.length > 0) throw reached[0].reason;
  console.log('ok');
  process.exit(0);
});
process.on('uncaughtException', (error) => { if (error?.reached) throw error });
