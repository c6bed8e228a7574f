/** Functions of the host that guests call. */

import { NodeRuntime } from "secure-exec";
import type { HostFunctions, NodeRuntimeCreateOptions } from "secure-exec";
import { describe, expect, test } from "vitest";
import { make } from "./support.js";

async function value(hostFunctions: HostFunctions, code: string, options: NodeRuntimeCreateOptions = {}): Promise<unknown> {
  const runtime = await make({ hostFunctions, ...options });
  const result = await runtime.run<{ default: unknown }>(
    `const { bindings } = SecureExec; const fail = (p) => p.then(() => "no error", (e) => ({ name: e.name, message: e.message, code: e.code, stack: /host-functions\\.test|lib\\//.test(e.stack) }));
     export default ${code};`,
    "/workspace/main.mjs",
  );
  if (result.exports === undefined) throw new Error(`${result.errorMessage}\n${result.stderr}`);
  return result.exports.default;
}

describe("calls", () => {
  test("of a tree of functions, sync and async", async () => {
    const functions = {
      add: (a: number, b: number) => a + b,
      tools: { files: { async read(name: string) { return { name, bytes: new Uint8Array([1, 2, 255]) }; } } },
      counter: { count: 3, get: { handler(this: unknown, by: number) { return by; } } } as unknown as HostFunctions,
    };
    delete (functions.counter as { count?: number }).count;
    const result = await value(
      functions,
      `[await bindings.add(1, 2), await bindings.tools.files.read("a"), await callHostFunction("counter.get", 7), await SecureExec.hostFunctions.add(2, 2)]`,
    );
    expect(result).toEqual([3, { name: "a", bytes: new Uint8Array([1, 2, 255]) }, 7, 4]);
  });

  test("carry every kind of data both ways", async () => {
    const echo = (input: unknown): unknown => input;
    const result = (await value(
      { echo },
      `await (async () => {
        const o = { u: undefined, n: null, nan: NaN, zero: -0, big: -(2n ** 70n), s: "\\ud800 \\u00e9 \\u{1F600}", d: new Date(5), r: /a+/gi, m: new Map([[{ k: 1 }, new Set([1])]]),
          f: new Float64Array([1.5]), b: new Uint8Array([9]).buffer, holes: [1, , 3], e: new RangeError("x", { cause: 1 }), boxed: Object("s"), ["__proto__"]: { polluted: 1 } };
        o.self = o; o.list = [o.m];
        const back = await bindings.echo(o);
        return [back.self === back, back.list[0] === back.m, Object.is(back.zero, -0), Number.isNaN(back.nan), back.big === o.big, back.s === o.s, back.d.getTime(), String(back.r),
          [...back.m][0][1].has(1), back.f[0], back.b.byteLength, 1 in back.holes, back.holes.length, back.e instanceof RangeError, back.e.message, back.e.cause, typeof back.boxed,
          Object.hasOwn(back, "__proto__"), ({}).polluted === undefined, "u" in back, back.n];
      })()`,
    )) as unknown[];
    expect(result).toEqual([true, true, true, true, true, true, 5, "/a+/gi", true, 1.5, 1, false, 3, true, "x", 1, "object", true, true, true, null]);
  });

  test("fail with the host's message and code, and no stack of it", async () => {
    const result = await value(
      {
        throws() { throw Object.assign(new TypeError("bad input"), { code: "E_BAD" }); },
        rejects: async () => Promise.reject(new Error("later")),
        hangs: { handler: () => new Promise(() => {}), timeout: 50 },
        gives: () => () => 1,
        checked: { handler: (n: number) => n * 2, inputSchema: { parse: (n: unknown) => { if (typeof n !== "number") throw new Error("not a number"); return n + 1; } } },
      },
      `[await fail(bindings.throws()), await fail(bindings.rejects()), await fail(bindings.hangs()), await fail(bindings.gives()), await fail(callHostFunction("none")),
        await fail(bindings.throws(() => 1)), await fail(bindings.throws(Symbol())), await bindings.checked(1), await fail(bindings.checked("x")), await fail(callHostFunction(Symbol()))]`,
    );
    expect(result).toEqual([
      { name: "TypeError", message: "bad input", code: "E_BAD", stack: false },
      { name: "Error", message: "later", code: undefined, stack: false },
      { name: "SecureExecError", message: "the host function 'hangs' did not answer within 50 ms", code: "ERR_HOST_FUNCTION_TIMEOUT", stack: false },
      { name: "SecureExecError", message: "a function cannot enter the sandbox", code: "ERR_SANDBOX_UNSUPPORTED_VALUE", stack: false },
      { name: "SecureExecError", message: "there is no host function 'none'", code: "ERR_INVALID_ARG_VALUE", stack: false },
      { name: "Error", message: "a function cannot leave the sandbox: arguments[0]", code: "ERR_SANDBOX_UNSUPPORTED_VALUE", stack: false },
      { name: "Error", message: "a symbol cannot leave the sandbox: arguments[0]", code: "ERR_SANDBOX_UNSUPPORTED_VALUE", stack: false },
      4,
      { name: "Error", message: "not a number", code: undefined, stack: false },
      { name: "TypeError", message: 'The "name" argument must be of type string.', code: "ERR_INVALID_ARG_TYPE", stack: false },
    ]);
  });

  test("keep the program alive, many at once", async () => {
    let calls = 0;
    const wait = async (n: number): Promise<number> => {
      calls += 1;
      await new Promise((resolve) => setTimeout(resolve, 5));
      return n;
    };
    const result = await value({ wait }, `await Promise.all(Array.from({ length: 200 }, (_, i) => bindings.wait(i)))`);
    expect(result).toEqual(Array.from({ length: 200 }, (_, i) => i));
    expect(calls).toBe(200);
  });

  test("may use the runtime that asks", async () => {
    const runtime: NodeRuntime = await make({ hostFunctions: { again: async () => (await runtime.exec("process.exit(7)")).code } });
    const result = await runtime.run<{ default: number }>("export default await callHostFunction('again')");
    expect(result.exports?.default).toBe(7);
  });

  test("work in a context, and functions can come later", async () => {
    const runtime = await make();
    expect(await runtime.run(`export default typeof SecureExec`)).toMatchObject({ exports: { default: "undefined" } });
    runtime.registerHostFunctions({ late: () => "here" });
    const context = await runtime.createContext();
    expect(await context.evaluate(`await SecureExec.bindings.late()`)).toMatchObject({ value: "here" });
  });
});

describe("what guests can do to it", () => {
  test("the tree is frozen and of the guest's realm", async () => {
    const result = await value(
      { a: { b: () => 1 } },
      `(() => {
        "use strict";
        const tries = [() => { bindings.a.b = 1 }, () => { bindings.x = 1 }, () => { globalThis.SecureExec = 1 }, () => { delete globalThis.SecureExec }, () => { bindings.a.b.x = 1 }];
        return [tries.map((t) => { try { t(); return "done"; } catch (e) { return e instanceof TypeError; } }), Object.getPrototypeOf(bindings),
          bindings.a.b instanceof Function, bindings.a.b() instanceof Promise, typeof bindings.a.b.constructor("return process")().binding,
          Object.getOwnPropertyNames(bindings.a.b).includes("caller")];
      })()`,
    );
    expect(result).toEqual([[true, true, true, true, true], null, true, true, "function", false]);
  });

  test("changed prototypes are not asked", async () => {
    const result = await value(
      { add: (a: number, b: number) => [a + b] },
      `await (async () => {
        let used = 0;
        Array.prototype[Symbol.iterator] = function () { used++; throw new Error("used"); };
        Object.defineProperty(Object.prototype, "code", { set() { used++; }, configurable: true });
        const r = await bindings.add(1, 2);
        await bindings.add(Symbol()).catch(() => {});
        return [r[0], used];
      })()`,
    );
    expect(result).toEqual([3, 0]);
  });

  test("arguments with getters do not run on the host", async () => {
    const seen: unknown[] = [];
    const result = await value({ f: (...args: unknown[]) => seen.push(args) }, `await fail(bindings.f({ get x() { return 1; } }))`);
    expect(result).toMatchObject({ code: "ERR_SANDBOX_UNSUPPORTED_VALUE", message: "a property with a getter cannot leave the sandbox: arguments[0].x" });
    expect(seen).toEqual([]);
  });

  test("the host's own values stay the host's", async () => {
    let seen: { then?: unknown } = {};
    await value({ f: (arg: object) => { seen = arg; } }, `await bindings.f({ ["__proto__"]: { polluted: 1 }, constructor: { prototype: 1 } })`);
    expect(Object.getPrototypeOf(seen)).toBe(Object.prototype);
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
  });
});

describe("limits", () => {
  const small = { payloadLimits: { jsonPayloadBytes: 2048, base64TransferBytes: 4096 } };

  test("of payloads hold both ways, for text and bytes", async () => {
    const result = await value(
      { echo: (x: unknown) => (typeof x === "number" ? "x".repeat(x) : x), bytes: (n: number) => new Uint8Array(n) },
      `[await fail(bindings.echo("x".repeat(3000))), await fail(bindings.echo(3000)), await fail(bindings.echo(new Uint8Array(5000))), await fail(bindings.bytes(5000)),
        (await bindings.bytes(4096)).length, (await bindings.echo(1500)).length]`,
      small,
    );
    expect(result).toMatchObject([
      { code: "ERR_SANDBOX_PAYLOAD_TOO_LARGE", message: /jsonPayloadBytes/ },
      { code: "ERR_SANDBOX_PAYLOAD_TOO_LARGE" },
      { code: "ERR_SANDBOX_PAYLOAD_TOO_LARGE" },
      { code: "ERR_SANDBOX_PAYLOAD_TOO_LARGE" },
      4096,
      1500,
    ].map((item) => (typeof item === "number" ? item : { code: item.code })));
  });

  test("of calls", async () => {
    const result = await value(
      { f: () => 1 },
      `await Promise.all(Array.from({ length: 12 }, () => bindings.f().then(() => "ok", (e) => e.code)))`,
      { resourceBudgets: { maxBridgeCalls: 10 } },
    );
    expect(result).toEqual([...Array<string>(10).fill("ok"), "ERR_RESOURCE_BUDGET_EXCEEDED", "ERR_RESOURCE_BUDGET_EXCEEDED"]);
  });

  test("of calls that wait", async () => {
    const result = await value(
      { f: () => new Promise<string>((resolve) => setTimeout(() => resolve("ok"), 50)) },
      `(await Promise.all(Array.from({ length: 1030 }, () => bindings.f().catch((e) => e.code)))).slice(1020)`,
    );
    expect(result).toEqual([...Array<string>(4).fill("ok"), ...Array<string>(6).fill("ERR_RESOURCE_BUDGET_EXCEEDED")]);
  });

  test("of permission, by name", async () => {
    const permissions = { hostFunction: { rules: [{ mode: "allow" as const, patterns: ["tools.*"] }] } };
    const result = await value({ tools: { a: () => 1 }, other: () => 2 }, `[await bindings.tools.a(), await fail(bindings.other())]`, { permissions });
    expect(result).toEqual([1, { name: "Error", message: "EACCES: permission denied, call 'other': blocked by permissions.hostFunction", code: "EACCES", stack: false }]);
  });
});

describe("options", () => {
  test.each([
    [{ "a-b": () => 1 }, TypeError, /hostFunctions\.a-b must have a name/],
    [{ _a: () => 1 }, TypeError, /hostFunctions\._a/],
    [{ a: 1 }, TypeError, /hostFunctions\.a must be a function/],
    [{ a: { handler: () => 1, timeout: 0 } }, RangeError, /hostFunctions\.a\.timeout/],
    [{ a: { b: { c: { d: { e: { f: { g: { h: { i: () => 1 } } } } } } } } }, RangeError, /at most 8 levels/],
    [[], TypeError, /hostFunctions must be an object of functions/],
  ])("%o is refused", async (hostFunctions, type, message) => {
    const error = await NodeRuntime.create({ hostFunctions } as object).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(type);
    expect((error as Error).message).toMatch(message);
  });
});
