/** WebAssembly modules in guests: what V8's own tables cannot bear is refused before V8 sees it. */

import { describe, expect, test } from "vitest";
import { inChild, lastLine, make } from "./support.js";

/** Builds modules in the guest: `types(count, seed)` has that many structures, which are different for each seed. */
const BUILDER = `
  const leb = (n) => { const out = []; do { let b = n & 127; n >>>= 7; if (n) b |= 128; out.push(b); } while (n); return out; };
  const types = (count, seed) => {
    const section = [...leb(count)];
    for (let i = 0; i < count; i++) {
      // A structure whose fields spell the number.
      const fields = [];
      for (let n = seed * 4194304 + i, k = 0; k < 16; k++, n = Math.floor(n / 4)) fields.push(0x7f - (n % 4), 0);
      section.push(0x5f, 16, ...fields);
    }
    return new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, ...leb(section.length), ...section]);
  };
  // (module (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add))
  const add = new Uint8Array([0,97,115,109,1,0,0,0,1,7,1,96,2,127,127,1,127,3,2,1,0,7,7,1,3,97,100,100,0,0,10,9,1,7,0,32,0,32,1,106,11]);
  const told = async (f) => { try { return await f(); } catch (e) { return e.name + ": " + e.message; } };`;

describe("WebAssembly", () => {
  test("modules are what they are without us", async () => {
    const runtime = await make();
    const { exports, errorMessage } = await runtime.run<{ default: unknown }>(
      `${BUILDER}
      class Own extends WebAssembly.Module { own() { return 1; } }
      const module = new WebAssembly.Module(add);
      const { instance } = await WebAssembly.instantiate(add.buffer);
      const own = new Own(add);
      export default {
        sum: instance.exports.add(20, 22),
        again: (await WebAssembly.instantiate(module)).exports.add(1, 2),
        compiled: new WebAssembly.Instance(await WebAssembly.compile(add)).exports.add(3, 4),
        exported: WebAssembly.Module.exports(module),
        isModule: module instanceof WebAssembly.Module && Object.prototype.toString.call(module) === "[object WebAssembly.Module]",
        constructor: module.constructor === WebAssembly.Module && WebAssembly.Module.prototype.constructor === WebAssembly.Module,
        own: own.own() + new WebAssembly.Instance(own).exports.add(1, 1),
        names: [WebAssembly.Module.name, WebAssembly.Module.length, WebAssembly.compile.name, WebAssembly.Tag.name],
        valid: [WebAssembly.validate(add), WebAssembly.validate(new Uint8Array(8))],
        wrong: await told(() => new WebAssembly.Module(new Uint8Array(8))),
        wrongType: await told(() => new WebAssembly.Module(1)),
        called: await told(() => WebAssembly.Module(add)),
        rejected: await told(() => WebAssembly.compile(1)),
        tag: new WebAssembly.Tag({ parameters: ["i32"] }) instanceof WebAssembly.Tag,
        streamed: (await WebAssembly.instantiateStreaming(new Response(add, { headers: { "content-type": "application/wasm" } }))).instance.exports.add(5, 6),
        asm: (function () { "use asm"; function f(a) { a = a | 0; return (a + 1) | 0; } return { f }; })().f(6),
      };`,
      "/workspace/main.mjs",
    );
    expect(errorMessage).toBeUndefined();
    expect(exports?.default).toEqual({
      sum: 42,
      again: 3,
      compiled: 7,
      exported: [{ name: "add", kind: "function" }],
      isModule: true,
      constructor: true,
      own: 3,
      names: ["Module", 1, "compile", "Tag"],
      valid: [true, false],
      wrong: expect.stringMatching(/^CompileError: WebAssembly.Module\(\): expected/),
      wrongType: "TypeError: WebAssembly.Module(): Argument 0 must be a buffer source",
      called: "TypeError: WebAssembly.Module(): WebAssembly.Module must be invoked with 'new'",
      rejected: "TypeError: WebAssembly.compile(): Argument 0 must be a buffer source",
      tag: true,
      streamed: 11,
      asm: 7,
    });
  });

  test("a VM may define so many types, by whatever way they come", async () => {
    const runtime = await make();
    const { exports, errorMessage } = await runtime.run<{ default: string[] }>(
      `import vm from "node:vm"; ${BUILDER}
      const many = types(30000, 1);
      const refused = [
        await told(() => WebAssembly.validate(many)),
        await told(() => new WebAssembly.Module(many)),
        await told(() => WebAssembly.compile(many)),
        await told(() => WebAssembly.instantiate(many.buffer)),
        await told(() => WebAssembly.compileStreaming(new Response(many, { headers: { "content-type": "application/wasm" } }))),
      ];
      const few = [WebAssembly.validate(types(15000, 2)), WebAssembly.validate(types(15000, 2))];
      refused.push(await told(() => WebAssembly.validate(types(15000, 3))));
      refused.push(await told(() => vm.runInNewContext("WebAssembly.validate(many)", { many, get WebAssembly() { return globalThis.WebAssembly; } })));
      refused.push(await told(() => vm.runInContext("new WebAssembly.Module(many)", vm.createContext({ many }))));
      let tags = 0;
      refused.push(await told(() => { for (;;) { new WebAssembly.Tag({ parameters: [...(tags++).toString(2)].map((bit) => (bit === "1" ? "i32" : "i64")) }); } }));
      export default { refused, few, still: new WebAssembly.Instance(new WebAssembly.Module(add)).exports.add(1, 1) };`,
      "/workspace/main.mjs",
    );
    expect(errorMessage).toBeUndefined();
    const limit = expect.stringMatching(/^RangeError: \d+ WebAssembly types are more than the 20000 that a VM may define$/);
    expect(exports?.default).toEqual({ refused: Array(9).fill(limit), few: [true, true], still: 2 });
  });

  test("the bytes of modules count as long as the modules live", async () => {
    const runtime = await make({ memoryLimit: 64 });
    const module = `const make = (i, n = 10 << 20) => { const b = new Uint8Array(13 + n);
      b.set([0, 97, 115, 109, 1, 0, 0, 0, 0, (n & 127) | 128, ((n >> 7) & 127) | 128, ((n >> 14) & 127) | 128, n >> 21, 1, 97]);
      b[20] = i; return b; };`;
    for (const [how, kept] of [
      ["new WebAssembly.Module(make(i))", "m"],
      ["await WebAssembly.compile(make(i))", "m"],
      ["await WebAssembly.instantiate(make(i))", "m.instance"],
      ["await WebAssembly.compileStreaming(new Response(make(i, 3 << 20), { headers: { 'content-type': 'application/wasm' } }))", "m"],
      // Of other objects for the same module.
      ["structuredClone(new WebAssembly.Module(make(i)))", "m"],
    ]) {
      const all = await runtime.exec(`${module} const kept = []; for (let i = 0; i < 60; i++) { const m = ${how}; kept.push(${kept}); }`, {
        filePath: "/workspace/kept.mjs",
      });
      expect(all, how).toMatchObject({ code: 137, reason: "memory" });
      // Those that nobody holds are given back.
      const few = await runtime.exec(`${module} for (let i = 0; i < 30; i++) { const m = ${how}; }; console.log('on')`, {
        filePath: "/workspace/few.mjs",
      });
      expect(few, how).toMatchObject({ code: 0, stdout: "on\n" });
    }
    const result = await runtime.exec(`
      const add = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]);
      process.on("unhandledRejection", (error) => console.log("unhandled", error.name));
      WebAssembly.compile(new Uint8Array(3));
      const promise = WebAssembly.instantiate(add);
      console.log(promise.constructor === Promise, Object.keys(await promise), (await WebAssembly.instantiate(await WebAssembly.compile(add))) instanceof WebAssembly.Instance);
`, { filePath: "/workspace/main.mjs" });
    expect(result).toMatchObject({
      stdout: "unhandled CompileError\ntrue [ 'module', 'instance' ] true\n",
    });
  });

  test("what one VM brings is its own affair", async () => {
    const child = await inChild(`
      const code = (seed) => ${JSON.stringify(BUILDER)} + "let n = 0; for (let i = 0; i < 3; i++) { try { if (WebAssembly.validate(types(19000, " + seed * 3 + " + i))) n++; } catch {} } console.log(n)";
      const answers = [];
      for (const seed of [1, 2]) {
        const runtime = await NodeRuntime.create();
        for (let turn = 0; turn < 2; turn++) answers.push((await runtime.exec(code(seed + turn * 10))).stdout);
        await runtime.dispose();
      }
      const neighbour = await NodeRuntime.create();
      answers.push((await neighbour.exec(${JSON.stringify(BUILDER)} + "console.log(WebAssembly.validate(add))")).stdout);
      console.log(JSON.stringify(answers));
      process.exit(0);`);
    // Only the first of a VM's modules is admitted, in whatever program it comes.
    expect(lastLine(child)).toEqual(["1\n", "0\n", "1\n", "0\n", "true\n"]);
  });

  test("a shared memory has room to grow, up to the memory limit", async () => {
    const runtime = await make({ memoryLimit: 1400, timingMitigation: "off" });
    const { exports, errorMessage } = await runtime.run<{ default: unknown }>(
      `const told = (f) => { try { return f(); } catch (e) { return e.name; } };
      const memory = new WebAssembly.Memory({ initial: 16384, maximum: 65536, shared: true });
      export default [told(() => memory.grow(1000)), told(() => memory.grow(8000)), told(() => memory.grow(500)), memory.buffer.byteLength / 65536,
        told(() => new WebAssembly.Memory({ initial: 40000, maximum: 65536, shared: true })), told(() => new WebAssembly.Memory({ initial: 65536 }))];`,
      "/workspace/main.mjs",
    );
    expect(errorMessage).toBeUndefined();
    expect(exports?.default).toEqual([16384, "RangeError", 17384, 17884, "RangeError", "RangeError"]);
  });
});
