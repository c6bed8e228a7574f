import { describe, expect, test } from "vitest";
import { make } from "./support.js";

async function exported(code: string): Promise<unknown> {
  const runtime = await make();
  const result = await runtime.run(code);
  if (result.reason !== "exit" || result.code !== 0) throw new Error(`${result.reason}: ${result.errorMessage}`);
  return result.exports;
}

const value = (expression: string): Promise<unknown> => exported(`module.exports = { v: ${expression} }`).then((all) => (all as { v: unknown }).v);

describe("exports", () => {
  test("of a module", async () => {
    expect(await exported("export const a = 1; export default { b: [2] }; export function f() {}")).toEqual({ a: 1, default: { b: [2] } });
  });

  test("of CommonJS", async () => {
    expect(await exported("module.exports = [1, 'two']")).toEqual([1, "two"]);
    expect(await exported("exports.a = 1; exports.f = () => 1")).toEqual({ a: 1 });
    expect(await exported("module.exports = () => 1")).toBeUndefined();
    expect(await exported("")).toEqual({});
  });

  test("large bytes are copied whole, or refused by their limit", async () => {
    const runtime = await make({ memoryLimit: 64 });
    expect((await runtime.run<Uint8Array>("module.exports = Buffer.alloc(15e6, 7)")).exports).toHaveLength(15e6);
    expect((await runtime.run("module.exports = Buffer.alloc(20e6)")).errorMessage).toContain("ERR_SANDBOX_PAYLOAD_TOO_LARGE");
  });

  test("of CommonJS that a compiler made", async () => {
    const code = "const f = () => 1, n = 2; Object.defineProperties(exports, { __esModule: { value: true }, f: { enumerable: true, get: () => f }, n: { enumerable: true, get: () => n } })";
    expect(await exported(code)).toStrictEqual({ n: 2 });
    const runtime = await make({ cpuTimeLimitMs: 200 });
    const hangs = await runtime.run("Object.defineProperty(exports, 'a', { enumerable: true, get() { for (;;); } })");
    expect(hangs).toMatchObject({ reason: "cpu", code: 124 });
  });

  test("an async result counts as its value", async () => {
    expect(await exported("module.exports = (async () => ({ n: 1 }))()")).toEqual({ n: 1 });
    expect(await exported("export const r = new Promise((done) => setTimeout(done, 5, 'late')); await r")).toEqual({ r: "late" });
  });

  test("a path as second argument", async () => {
    const runtime = await make();
    expect(await runtime.run("export const u = import.meta.url", "/lib/thing.mjs")).toMatchObject({ exports: { u: "file:///lib/thing.mjs" } });
  });

  test("none after a failure", async () => {
    const runtime = await make();
    const result = await runtime.run("exports.a = 1; throw new Error('x')");
    expect(result).toMatchObject({ code: 1, reason: "error", errorMessage: "Error: x" });
    expect("exports" in result).toBe(false);
  });
});

describe("values", () => {
  test.each([
    ["undefined", undefined],
    ["null", null],
    ["true", true],
    ["NaN", Number.NaN],
    ["-0", -0],
    ["-Infinity", -Infinity],
    ["2 ** 53 + 2", 2 ** 53 + 2],
    ["'\\u0000\\u2028é😀'", "\0\u2028é😀"],
    ["'\\ud800x'", "\ud800x"],
    ["0n", 0n],
    ["-(2n ** 200n)", -(2n ** 200n)],
    ["2n ** 64n - 1n", 2n ** 64n - 1n],
    ["new Date(86400000)", new Date(86400000)],
    ["/a\\/b/giu", /a\/b/giu],
    ["new Map([[{ k: 1 }, [2]], ['s', new Set([1, 'x'])]])", new Map<unknown, unknown>([[{ k: 1 }, [2]], ["s", new Set<unknown>([1, "x"])]])],
    ["new Uint8Array([1, 255])", new Uint8Array([1, 255])],
    ["new Float64Array([1.5])", new Float64Array([1.5])],
    ["new BigInt64Array([-1n])", new BigInt64Array([-1n])],
    ["new Uint8Array(1000).subarray(3, 5)", new Uint8Array(2)],
    ["new Uint8Array([1, 2, 3]).buffer", new Uint8Array([1, 2, 3]).buffer],
    ["Object('boxed')", Object("boxed")],
    ["Object(1.5)", Object(1.5)],
    ["[, 1, , 2]", [, 1, , 2]], // eslint-disable-line no-sparse-arrays
  ])("%s", async (expression, expected) => {
    expect(await value(expression)).toStrictEqual(expected);
  });

  test("a Buffer is its bytes", async () => {
    const bytes = await value("Buffer.from('hi')");
    expect(bytes).toBeInstanceOf(Uint8Array);
    expect([...(bytes as Uint8Array)]).toEqual([104, 105]);
    expect((bytes as Uint8Array).buffer.byteLength).toBe(2);
  });

  test("a DataView shows its part", async () => {
    const view = (await value("new DataView(new Uint8Array([1, 2, 3, 4]).buffer, 1, 2)")) as DataView;
    expect(view).toBeInstanceOf(DataView);
    expect([view.byteLength, view.getUint8(0), view.getUint8(1)]).toEqual([2, 2, 3]);
  });

  test("class instances and objects without a prototype", async () => {
    expect(await value("new (class A { x = 1; get y() { return 2 } })()")).toStrictEqual({ x: 1 });
    const bare = (await value("Object.assign(Object.create(null), { a: 1 })")) as object;
    expect(Object.getPrototypeOf(bare)).toBeNull();
  });

  test("cycles and shared references", async () => {
    const all = (await exported("const o = { n: 1 }; o.self = o; o.list = [o, o]; o.map = new Map([[o, o]]); module.exports = o")) as Record<string, unknown>;
    expect(all["self"]).toBe(all);
    expect((all["list"] as unknown[])[1]).toBe(all);
    expect((all["map"] as Map<unknown, unknown>).get(all)).toBe(all);
  });

  test("errors", async () => {
    const error = (await value("Object.assign(new RangeError('far', { cause: new Error('near') }), { code: 'E_FAR', extra: [1] })")) as RangeError & {
      code: string;
      extra: number[];
    };
    expect(error).toBeInstanceOf(RangeError);
    expect(error).toMatchObject({ name: "RangeError", message: "far", code: "E_FAR", extra: [1] });
    expect(error.cause).toBeInstanceOf(Error);
    expect((error.cause as Error).message).toBe("near");
    expect(error.stack).toContain("RangeError: far");
    expect(error.stack).not.toContain("values.js");
    const many = (await value("new AggregateError([new Error('a')], 'all')")) as AggregateError;
    expect(many).toBeInstanceOf(AggregateError);
    expect((many.errors[0] as Error).message).toBe("a");
  });

  test("a sparse array of the greatest length", async () => {
    const array = (await value("Object.assign([], { length: 2 ** 32 - 1 })")) as unknown[];
    expect(array.length).toBe(2 ** 32 - 1);
  });

  test("__proto__ and friends are data", async () => {
    const all = (await exported("module.exports = { ['__proto__']: { polluted: 1 }, constructor: { prototype: { polluted: 2 } } }")) as object;
    expect(Object.hasOwn(all, "__proto__")).toBe(true);
    expect(Object.getPrototypeOf(all)).toBe(Object.prototype);
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
  });

  test("a thenable is not awaited on the host", async () => {
    expect(await exported("module.exports = { then: { called: false } }")).toEqual({ then: { called: false } });
  });
});

describe("what may not cross", () => {
  test.each([
    ["{ a: { get b() { return 1 } } }", "exports.v.a.b"],
    ["[0, { f() {} }]", "exports.v[1].f"],
    ["[new Proxy({}, {})]", "exports.v[0]"],
    ["{ p: Promise.resolve(1) }", "exports.v.p"],
    ["{ s: Symbol('s') }", "exports.v.s"],
    ["new WeakMap()", "exports.v"],
    ["(function* () {})()", "exports.v"],
  ])("%s", async (expression, path) => {
    const runtime = await make();
    const result = await runtime.run(`module.exports = { v: ${expression} }`);
    expect(result).toMatchObject({ code: 1, reason: "error", error: { name: "SecureExecError", code: "ERR_SANDBOX_UNSUPPORTED_VALUE" } });
    expect(result.errorMessage?.endsWith(`: ${path}`)).toBe(true);
    expect("exports" in result).toBe(false);
  });

  test("no code of the guest runs while values cross", async () => {
    const runtime = await make();
    const result = await runtime.run(`
      const calls = [];
      const trap = new Proxy({}, new Proxy({}, { get(_, name) { calls.push(name); return undefined } }));
      Object.defineProperty(Object.prototype, 'toJSON', { get() { calls.push('toJSON') }, configurable: true });
      Map.prototype[Symbol.iterator] = () => { calls.push('iterator') };
      exports.map = new Map([[1, 2]]);
      exports.date = Object.assign(new Date(5), { valueOf() { calls.push('valueOf') } });
      exports.calls = calls;
      Object.setPrototypeOf(exports, trap);
      calls.length = 0;
    `);
    expect(result.exports).toMatchObject({ map: new Map([[1, 2]]), calls: [] });
  });
});

describe("payload limits", () => {
  const tooLarge = { code: 1, reason: "error", error: { code: "ERR_SANDBOX_PAYLOAD_TOO_LARGE" } };

  test("bytes of values", async () => {
    const runtime = await make({ payloadLimits: { jsonPayloadBytes: 4096 } });
    expect(await runtime.run("module.exports = 'x'.repeat(3000)")).toMatchObject({ code: 0 });
    const result = await runtime.run("module.exports = 'x'.repeat(5000)");
    expect(result).toMatchObject(tooLarge);
    expect(result.errorMessage).toMatch(/5\d\d\d.*4096.*payloadLimits\.jsonPayloadBytes/);
  });

  test("binary data", async () => {
    const runtime = await make({ payloadLimits: { base64TransferBytes: 4096, jsonPayloadBytes: 1024 } });
    expect(await runtime.run("module.exports = new Uint8Array(4096)")).toMatchObject({ code: 0 });
    const result = await runtime.run("module.exports = new Uint8Array(4097)");
    expect(result).toMatchObject(tooLarge);
    expect(result.errorMessage).toContain("payloadLimits.base64TransferBytes");
  });

  test.each([
    ["one long string a million times", "const s = 'x'.repeat(1e7); module.exports = new Array(1e6).fill(s)"],
    ["depth of objects", "let o = {}; module.exports = o; for (let i = 0; i < 1e6; i++) o = o.a = {}"],
    ["depth of causes", "let e = new Error(); module.exports = [e]; for (let i = 0; i < 1e5; i++) e = e.cause = new Error()"],
    ["depth of maps", "let m = new Map(); module.exports = m; for (let i = 0; i < 1e5; i++) { const n = new Map(); m.set(1, n); m = n }"],
    ["many values", "module.exports = Array.from({ length: 2e6 }, (_, i) => i)"],
    ["a big integer", "module.exports = 1n << 100_000_000n"],
  ])("%s", async (_, code) => {
    const runtime = await make({ memoryLimit: 512 });
    expect(await runtime.run(code)).toMatchObject(tooLarge);
    expect(await runtime.run("module.exports = 1")).toMatchObject({ exports: 1 });
  });
});

describe("languages", () => {
  test("a program with JSX, by its extension", async () => {
    const runtime = await make({
      files: {
        "/node_modules/react/package.json": '{ "exports": { "./jsx-runtime": "./jsx-runtime.js" } }',
        "/node_modules/react/jsx-runtime.js":
          "exports.jsx = exports.jsxs = (type, props) => [type, props]; exports.Fragment = 'fragment';",
      },
    });
    const own = `const React = { createElement: (...parts: unknown[]) => parts }; const p = { n: 1 };
      export const v = <div className="a" {...p}>hi</div>; export const dir = import.meta.dirname;`;
    expect((await runtime.run(own, "/workspace/app/t.tsx")).exports).toEqual({
      v: ["div", { className: "a", n: 1 }, "hi"],
      dir: "/workspace/app",
    });
    const automatic = "module.exports = <><b k={1 as number}>x</b></>;";
    expect((await runtime.run(automatic, "/workspace/t.tsx")).exports).toEqual([
      "fragment",
      { children: ["b", { k: 1, children: "x" }] },
    ]);
    expect((await runtime.run("export default <b/>", "t.jsx")).exports).toEqual({ default: ["b", {}] });
    expect(await runtime.run("export default <b>", "t.tsx")).toMatchObject({ reason: "error", code: 1, error: { name: "SyntaxError" } });
  });
});
