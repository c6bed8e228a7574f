// Programs that end while V8 marks their heap, with contexts that have just died: nothing of them is touched afterwards.
import assert from "node:assert/strict";

export default async ({ NodeRuntime }) => {
  const runtime = await NodeRuntime.create({ memoryLimit: 512 });
  const code = `const vm = require("vm"), all = [];
    let context;
    for (let i = 0; ; i++) {
      all.push({ a: { b: i } });
      if (i % 1000 === 0) context = vm.createContext({});
    }`;
  for (let i = 0; i < 60; i++) {
    const { reason } = await runtime.exec(code, { cpuTimeLimitMs: 12 + (i % 60), wallTimeLimitMs: 20_000 });
    assert.ok(["cpu", "memory", "error"].includes(reason), reason);
  }
  await runtime.dispose();
};
