const workerpool = require('workerpool');

const pool = workerpool.pool({ maxWorkers: 2, workerType: 'thread' });
(async () => {
  const add = (a, b) => a + b;
  console.log(await Promise.all([1, 2, 3, 4].map((n) => pool.exec(add, [n, n]))));
  await pool.exec(() => { throw new RangeError('no'); }).catch((error) => console.log(error.name, error.message));
  await pool.exec(() => { while (true); }).timeout(200).catch((error) => console.log(error.name));
  await pool.terminate();
})();
