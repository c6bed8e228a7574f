// Objects of a few words in V8's heap, each with more behind it: what a guest keeps of them stays within its limit.
// @outcome memory
// @options {"memoryLimit": 32, "cpuTimeLimitMs": 4000}
// @within 15000
// @grows 110
// @each a.push(new HTTPParser(HTTPParser.REQUEST, {}))
// @each a.push(new Pipe(0))
// @each a.push(new TCP(0))
// @each new TCP(0)
// @each a.push(new Blob(['x']))
// @each a.push(new dns.Resolver())
// @each a.push(new dns.promises.Resolver())
// @each a.push(new vm.Script('1'))
// @each a.push(crypto.createHmac('sha512', 'x'))
// @each a.push(crypto.createHash('sha512'))
// @each a.push(crypto.createHash('sha3-512'))
// @each a.push(crypto.createECDH('secp521r1'))
// @each a.push(crypto.createSign('sha512'))
// @each a.push(new net.BlockList())
// @each a.push(new net.SocketAddress())
// @each a.push(new TextDecoder('gb18030'))
// @each a.push(new MessageChannel())
// @each a.push(perf_hooks.createHistogram())
// @each a.push(process.binding('fs').FSReqCallback ? new (process.binding('fs').FSReqCallback)() : 1)
const [crypto, dns, net, perf_hooks, vm] = ['crypto', 'dns', 'net', 'perf_hooks', 'vm'].map(require), a = [];
const { HTTPParser } = process.binding('http_parser'), { Pipe } = process.binding('pipe_wrap'), { TCP } = process.binding('tcp_wrap');
for (;;) EACH;
