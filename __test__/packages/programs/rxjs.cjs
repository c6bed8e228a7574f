const { from, interval, lastValueFrom, of } = require('rxjs');
const { bufferCount, concatMap, delay, filter, map, reduce, take } = require('rxjs/operators');
(async () => {
  console.log(await lastValueFrom(from([1, 2, 3, 4, 5]).pipe(filter((x) => x % 2 === 1), map((x) => x * x), reduce((a, b) => a + b))));
  console.log(await lastValueFrom(interval(1).pipe(take(4), bufferCount(2), concatMap((x) => of(x).pipe(delay(1))))));
})();
