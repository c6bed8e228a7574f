import { NodeRuntime } from "secure-exec";
import { expect, test } from "vitest";

/** What a program can see of what ran before it. */
const CENSUS = `
  const { AsyncResource, executionAsyncId, triggerAsyncId } = require('node:async_hooks');
  const Module = require('node:module');
  const describe = (object) => Reflect.ownKeys(object).map((key) => {
    const { value, ...rest } = Object.getOwnPropertyDescriptor(object, key);
    return [String(key), typeof value, rest];
  });
  const census = {
    ids: [executionAsyncId(), triggerAsyncId(), new AsyncResource('census').asyncId()],
    resources: process.getActiveResourcesInfo(),
    handles: process._getActiveHandles().length,
    // The first line that is printed loads it.
    loaded: process.moduleLoadList.filter((name) => !name.endsWith(' internal/util/colors')),
    cache: Object.keys(require.cache),
    paths: [Object.keys(Module._pathCache), Module.globalPaths, module.paths, module.children],
    main: [process.mainModule === module, require.main === module, process.argv, process.argv0, process.pid > 0],
    listeners: process.eventNames().map((name) => [String(name), process.listenerCount(name)]),
    entries: performance.getEntries(),
    timing: Object.keys(performance.nodeTiming),
    match: [RegExp.lastMatch, RegExp.input, RegExp.$1],
    exit: [process.exitCode, process._exiting],
    global: describe(globalThis),
    process: describe(process),
    console: describe(console),
    counts: [process._tickDomainCallback, console._times?.size],
  };
  console.log(JSON.stringify(census, null, 1));`;

test("a program cannot tell whether its isolate was warm", async () => {
  // Isolates of another size are in no pool.
  const cold = await NodeRuntime.create({ memoryLimit: 127 });
  const warm = await NodeRuntime.create();
  const expected = await cold.exec(CENSUS);
  expect(expected).toMatchObject({ code: 0, stderr: "" });
  for (let round = 0; round < 4; round += 1) {
    // Enough for the pool to be full; the test holds without it, too.
    await new Promise((resolve) => setTimeout(resolve, 100));
    const other = await NodeRuntime.create();
    expect((await other.exec(CENSUS)).stdout).toBe(expected.stdout);
    expect((await warm.exec(CENSUS)).stdout).toBe(expected.stdout);
    await other.dispose();
  }
  await Promise.all([cold.dispose(), warm.dispose()]);
});

test("the streams of a child on a warm isolate are its own", async () => {
  const runtime = await NodeRuntime.create({
    files: { "/workspace/child.js": "console.log(process.stdout.constructor.name); console.error(process.stderr.constructor.name)" },
  });
  const parent = `
    const { spawnSync } = require('node:child_process');
    const fs = require('node:fs');
    const kinds = ({ stdout, stderr }) => String(stdout) + String(stderr);
    process.stdout.write(kinds(spawnSync('node', ['child.js'])));
    const file = fs.openSync('out', 'w');
    spawnSync('node', ['child.js'], { stdio: ['ignore', file, file] });
    process.stdout.write(fs.readFileSync('out', 'utf8'));`;
  await new Promise((resolve) => setTimeout(resolve, 100));
  const { stdout } = await runtime.exec(parent);
  expect(stdout).toBe("Socket\nSocket\nSyncWriteStream\nSyncWriteStream\n");
  await runtime.dispose();
});

test("a job that comes while its isolate gets ready is not lost", async () => {
  const runs = Array.from({ length: 40 }, async (_, index) => {
    const runtime = await NodeRuntime.create();
    const result = await runtime.exec(`console.log(${index})`);
    await runtime.dispose();
    return result.stdout;
  });
  expect(await Promise.all(runs)).toEqual(Array.from({ length: 40 }, (_, index) => `${index}\n`));
});
