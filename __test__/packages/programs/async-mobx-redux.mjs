import async from 'async';
import Bluebird from 'bluebird';
import * as R from 'ramda';
import PQueue from 'p-queue';
import { LRUCache } from 'lru-cache';
import cron from 'node-cron';
import { autorun, makeAutoObservable, runInAction, computed } from 'mobx';
import { createStore, applyMiddleware, combineReducers } from 'redux';
import { createRequire } from 'node:module';
console.log(
  await async.mapLimit([1, 2, 3], 2, async (x) => x * 2),
  await async.waterfall([(c) => c(null, 1), (a, c) => setImmediate(c, null, a + 1)]),
  await async.auto({ a: async () => 1, b: ['a', async ({ a }) => a + 1] }),
);
await async
  .retry({ times: 3, interval: 5 }, async () => {
    throw new Error('r');
  })
  .catch((e) => console.log(e.message));
console.log(
  await Bluebird.map([1, 2, 3], (x) => Bluebird.delay(5).return(x * 3), { concurrency: 2 }),
  await Bluebird.resolve(1).timeout(100),
  await Bluebird.delay(50)
    .timeout(5)
    .catch(Bluebird.TimeoutError, (e) => e.message),
  await Bluebird.promisify((a, c) => c(null, a))('p'),
  await Bluebird.any([Bluebird.reject(new Error('x')), Bluebird.resolve(2)]),
);
console.log(
  R.pipe(
    R.map(R.add(1)),
    R.filter((x) => x % 2 === 0),
    R.groupBy(String),
  )([1, 2, 3]),
  R.mergeDeepRight({ a: { b: 1 } }, { a: { c: 2 } }),
  R.path(['a', 'b'], { a: { b: 3 } }),
  R.curry((a, b, c) => a + b + c)(1)(2)(3),
);
const q = new PQueue({ concurrency: 2 });
const order = [];
await q.addAll(
  [30, 10, 5].map((ms) => async () => {
    await new Promise((r) => setTimeout(r, ms));
    order.push(ms);
  }),
);
console.log(order, q.size);
const l = new LRUCache({ max: 2, ttl: 1000, dispose: (v, k) => console.log('out', k) });
l.set('a', 1).set('b', 2);
l.get('a');
l.set('c', 3);
console.log([...l.keys()]);
console.log(cron.validate('*/5 * * * *'), cron.validate('x'));
class T {
  n = 1;
  constructor() {
    makeAutoObservable(this);
  }
  get d() {
    return this.n * 2;
  }
  inc() {
    this.n++;
  }
}
const t = new T();
const seen = [];
const stop = autorun(() => seen.push(t.d));
t.inc();
runInAction(() => {
  t.n = 10;
  t.n = 11;
});
stop();
t.inc();
console.log(seen);
const st = createStore(
  combineReducers({ c: (s = 0, a) => (a.type === 'i' ? s + 1 : s) }),
  applyMiddleware(() => (n) => (a) => n(a)),
);
st.subscribe(() => console.log(st.getState()));
st.dispatch({ type: 'i' });
