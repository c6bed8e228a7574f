// What a VM held goes with it, not with the collection of what the host still has of it.
import assert from "node:assert/strict";

/** The program fills most of what a VM may have. */
const CODE = `
const fs = require("node:fs");
for (let i = 0; i < 2200; i++) fs.writeFileSync("/tmp/" + i, Buffer.alloc(100_000, 97));
fs.openSync("/tmp/1", "r");
`;

export default async ({ NodeRuntime }) => {
  const grown = [];
  const held = [];
  const before = process.memoryUsage.rss();
  for (let i = 0; i < 6; i++) {
    const runtime = await NodeRuntime.create({ memoryLimit: 64 });
    held.push(runtime);
    const { reason, stderr } = await runtime.exec(CODE);
    assert.equal(reason, "exit", stderr);
    await runtime.dispose();
    grown.push(Math.round((process.memoryUsage.rss() - before) / 2 ** 20));
  }
  assert.ok(grown.at(-1) < 700, `the host grew to ${grown} MiB over VMs that were disposed of`);
  for (const runtime of held) {
    await assert.rejects(runtime.fs.readFile("/tmp/1"), { code: "ERR_RUNTIME_DISPOSED" });
    assert.equal((await runtime.stats()).processes, 0);
  }
};
