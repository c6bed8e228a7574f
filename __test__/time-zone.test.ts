/** The time zone of a guest is what its `TZ` says, and nobody else's. */

import { expect, test } from "vitest";
import { inChild, make } from "./support.js";

const now = "new Date(0).toString().slice(16), new Intl.DateTimeFormat().resolvedOptions().timeZone";
const utc = "00:00:00 GMT+0000 (Coordinated Universal Time) UTC\n";
const tokyo = "09:00:00 GMT+0900 (Japan Standard Time) Asia/Tokyo\n";
const newYork = "19:00:00 GMT-0500 (Eastern Standard Time) America/New_York\n";

test("the host's is not told", async () => {
  const host = await inChild(`
    process.env.TZ = "Asia/Tokyo";
    const runtime = await NodeRuntime.create();
    process.stdout.write((await runtime.exec(${JSON.stringify(`console.log(${now})`)})).stdout);
    await runtime.dispose();`);
  expect(host).toMatchObject({ stdout: utc, stderr: "" });
});

test("TZ of the runtime, of a call and of a child; all at once", async () => {
  const eastern = await make({ env: { TZ: "America/New_York" }, permissions: { childProcess: "allow" } });
  const japanese = await make({ env: { TZ: "Asia/Tokyo" } });
  const plain = await make();
  const results = await Promise.all([
    eastern.exec(`console.log(${now}); process.stdout.write(require('child_process').execFileSync('node',
      ['-p', ${JSON.stringify(`[${now}].join(' ')`)}], { env: { TZ: ':Asia/Tokyo' } }))`),
    japanese.exec(`console.log(${now})`),
    plain.exec(`console.log(${now})`),
    plain.exec(`console.log(${now})`, { env: { TZ: "America/New_York" } }),
  ]);
  expect(results.map((result) => result.stdout)).toEqual([newYork + tokyo, tokyo, utc, newYork]);
});

test("a program sets it for itself; workers have that of their process", async () => {
  const runtime = await make({ files: { "/workspace/.env": "TZ=America/New_York" } });
  const result = await runtime.exec(`
    const { Worker } = require('worker_threads');
    const date = new Date(2024, 6, 1);
    console.log(${now}, date.getTime() === Date.UTC(2024, 6, 1));
    process.loadEnvFile();
    console.log(${now}, date.getHours(), date.toLocaleTimeString('en'));
    process.env.TZ = 'Asia/Tokyo';
    console.log(${now}, date.getHours(), date.toLocaleTimeString('en'));
    for (let i = 0; i < 6; i++) {
      process.env.TZ = i % 2 ? 'Asia/Tokyo' : 'America/New_York';
      if (date.getHours() !== (i % 2 ? 9 : 20)) console.log('stale', i);
    }
    for (const zone of ['EST5', 'UTC-5:30', 'No/Such', '', '\\0', 'é', 'x'.repeat(1e5)]) {
      process.env.TZ = zone;
      console.log(new Date(0).getTimezoneOffset());
    }
    delete process.env.TZ;
    console.log(${now});
    process.env.TZ = 'Asia/Tokyo';
    new Worker("process.env.TZ = 'America/New_York'; console.log(${now})", { eval: true, env: { TZ: 'UTC' } })
      .on('exit', () => console.log(${now}));`);
  expect(result.stderr).toBe("");
  expect(result.stdout).toBe(
    utc.replace("\n", " true\n") +
      newYork.replace("\n", " 20 8:00:00 PM\n") +
      tokyo.replace("\n", " 9 9:00:00 AM\n") +
      "300\n-330\n0\n0\n0\n0\n0\n" +
      utc +
      tokyo +
      tokyo,
  );
});
