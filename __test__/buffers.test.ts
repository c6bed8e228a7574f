import { describe, expect, test } from "vitest";
import { make } from "./support.js";

/** Frees `count` buffers of 1 MiB, whose memory the process then keeps for the next ones. */
const USED = `
  const { Buffer } = process.getBuiltinModule("buffer");
  for (let i = 0; i < 200; i += 1) Buffer.allocUnsafeSlow(1 << 20).fill(0xff);
`;

describe("memory of freed buffers", () => {
  test("a new buffer never shows what the last one held", async () => {
    const runtime = await make();
    const result = await runtime.exec(`${USED}
      const dirty = (bytes) => bytes.some((byte) => byte !== 0);
      let found = 0;
      for (let i = 0; i < 60; i += 1) {
        if (dirty(new Uint8Array(1 << 20))) found += 1;
        if (dirty(Buffer.alloc(1 << 20))) found += 1;
        if (dirty(new Uint8Array((1 << 20) - 100))) found += 1;
        if (dirty(new Uint8Array(structuredClone(new ArrayBuffer(1 << 20))))) found += 1;
      }
      console.log(found);
    `);
    expect(result).toMatchObject({ code: 0, stdout: "0\n" });
  });

  test("is zeroed for allocUnsafe, too, with --zero-fill-buffers", async () => {
    const runtime = await make();
    const child = `${USED}
      let found = 0;
      for (let i = 0; i < 60; i += 1) if (Buffer.allocUnsafe(1 << 20).some((byte) => byte !== 0)) found += 1;
      console.log(found);
    `;
    const result = await runtime.exec(`
      const { spawnSync } = require("node:child_process");
      const run = (...options) => spawnSync(process.execPath, [...options, "-e", ${JSON.stringify(child)}]).stdout.toString();
      console.log(run("--zero-fill-buffers"), run() > 0);
    `);
    expect(result).toMatchObject({ code: 0, stdout: "0\n true\n" });
  });

  test("does not count against the limit", async () => {
    const runtime = await make({ memoryLimit: 64 });
    const result = await runtime.exec(`${USED}
      // One block, many small ones, strings and objects: each takes what the freed blocks had.
      const large = new Uint8Array(44 << 20).fill(1);
      console.log(large.length >> 20);
    `);
    expect(result).toMatchObject({ code: 0, stdout: "44\n" });
    const small = await runtime.exec(`${USED}
      const kept = [];
      for (let i = 0; i < 440; i += 1) kept.push(new Uint8Array(100 << 10).fill(1));
      console.log(kept.length);
    `);
    expect(small).toMatchObject({ code: 0, stdout: "440\n" });
    expect(await runtime.exec(`${USED} const kept = []; for (;;) kept.push(new Uint8Array(1 << 20).fill(1))`)).toMatchObject({ reason: "memory" });
    expect(await runtime.exec("console.log('next')")).toMatchObject({ stdout: "next\n" });
  });
});

describe("a process at rest", () => {
  // A second of rest, after the second in which Node's HTTP server forgets the date of its answers.
  const rest = () => new Promise((resolve) => setTimeout(resolve, 2500));
  /** Garbage that only a collection of the whole heap finds. */
  const GARBAGE = `
    globalThis.keep = new Array(100_000).fill(0).map((_, index) => ({ index }));
    globalThis.garbage = new WeakRef(keep);
  `;

  test("collects the garbage of a context", async () => {
    const runtime = await make();
    const context = await runtime.createContext();
    await context.execute(GARBAGE);
    await context.execute("keep = undefined");
    expect(await context.evaluate("garbage.deref() === undefined")).toMatchObject({ value: false });
    await context.execute("keep = undefined");
    await rest();
    expect(await context.evaluate("garbage.deref() === undefined")).toMatchObject({ value: true });
  });

  test("collects the garbage of a server", async () => {
    const runtime = await make();
    await runtime.spawn(`
      ${GARBAGE}
      require("node:http").createServer((request, response) => {
        globalThis.keep = undefined;
        response.end(String(garbage.deref() === undefined));
      }).listen(3000);
    `);
    await runtime.waitForListener({ port: 3000 });
    expect((await runtime.fetch(3000, { path: "/" })).body).toBe("false");
    await rest();
    expect((await runtime.fetch(3000, { path: "/" })).body).toBe("true");
  });
});
