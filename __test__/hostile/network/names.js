// The host's own loopback, its files of names and its resolver are out of reach.
// @outcome ok
// @options {"cpuTimeLimitMs": 2000, "wallTimeLimitMs": 10000}
const http = require('http'), dns = require('dns');
const refused = (promise) => promise.then(() => { throw new Error('reached') }, () => {});
const get = (options) => new Promise((resolve, reject) => http.get(options, resolve).on('error', reject));
Promise.all([
  refused(get({ host: '127.0.0.1', port: 1 })),
  refused(get({ host: 'localhost', port: 22 })),
  refused(get({ host: '0.0.0.0', port: 22 })),
  refused(get({ host: '::1', port: 22 })),
  refused(get({ host: require('os').hostname(), port: 22 })),
  refused(dns.promises.lookup('example.com')),
  refused(dns.promises.reverse('127.0.0.53')),
  refused(dns.promises.lookupService('8.8.8.8', 53)),
]).then(() => console.log('ok'));
