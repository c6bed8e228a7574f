const assert = require('node:assert');
const Mocha = require('mocha');

const mocha = new Mocha({ reporter: 'json', timeout: 0 });
mocha.suite.emit('pre-require', globalThis, null, mocha);
describe('outer', () => {
  let count = 0;
  beforeEach(() => (count += 1));
  it('is synchronous', () => assert.equal(count, 1));
  it('waits', () => new Promise((resolve) => setTimeout(resolve, 5)));
  it('calls back', (done) => setImmediate(done));
  it('fails', () => assert.deepEqual({ a: 1 }, { a: 2 }));
  it.skip('is skipped', () => {});
});
const lines = [];
const write = process.stdout.write;
process.stdout.write = () => true;
const runner = mocha.run((failures) => {
  process.stdout.write = write;
  console.log(failures, 'failed', lines);
});
for (const event of ['pass', 'fail', 'pending', 'end']) {
  runner.on(event, (test, error) => lines.push([event, test?.fullTitle(), error?.message]));
}
