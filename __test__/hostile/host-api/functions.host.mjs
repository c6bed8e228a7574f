// Functions of the host: what a guest hands in is data, what they throw is a fresh error of the guest, and nothing hangs.
import assert from "node:assert/strict";

export default async ({ NodeRuntime, secret }) => {
  const seen = [];
  const runtime = await NodeRuntime.create({
    cpuTimeLimitMs: 1500,
    wallTimeLimitMs: 4000,
    permissions: { hostFunction: "allow" },
    hostFunctions: {
      take: (...values) => {
        seen.push(values);
        return values.length;
      },
      fails: () => {
        throw Object.assign(new Error("refused"), { code: "E_MINE", secret });
      },
      rejects: () => Promise.reject("text"),
      odd: () => ({ then: (resolve) => resolve(Object.create({ inherited: 1 }, { own: { value: 2, enumerable: true } })) }),
      big: () => "x".repeat(2 ** 26),
      proxy: () => new Proxy({}, { get: () => 1, ownKeys: () => ["a"] }),
      again: () => runtime.exec("console.log(1 + 1)").then((result) => result.stdout),
      never: () => new Promise(() => {}),
    },
  });
  const call = async (code) => {
    const result = await runtime.exec(`const host = globalThis.SecureExec?.bindings ?? globalThis.hostFunctions ?? require("secure-exec").hostFunctions; ${code}`);
    assert.ok(!`${result.stdout}${result.stderr}`.includes(secret), "the host's property came along");
    return result;
  };
  const hostile = [
    "{ get a() { for (;;); } }",
    "new Proxy({}, { ownKeys() { for (;;); } })",
    "{ then(r) { r(1) } }",
    "JSON.parse('{\"__proto__\":{\"polluted\":1}}')",
    "'x'.repeat(2 ** 27)",
    "new Array(1e6).fill('x'.repeat(1e6))",
    "() => 1",
    "Symbol('a')",
    "(() => { let a = []; for (let i = 0; i < 1e5; i++) a = [a]; return a })()",
    "new Uint8Array(2 ** 25)",
    "Object.assign([], { length: 2 ** 32 - 1 })",
    "new Promise(() => {})",
    "globalThis",
  ];
  for (const value of hostile) {
    const { reason } = await call(`await host.take(${value})`);
    assert.ok(["exit", "error", "memory", "cpu"].includes(reason), `${value}: ${reason}`);
  }
  assert.ok(seen.every((values) => values.every((value) => typeof value !== "function")));
  for (const name of ["fails", "rejects", "odd", "big", "proxy", "again"]) {
    const { reason, stderr } = await call(`
      const check = (one) => { if (one && (typeof one === "object" || typeof one === "function") && one.constructor) { const p = one.constructor.constructor("return process")(); if (p.env.HOSTILE_CANARY) throw new Error("a realm of the host"); } };
      check(host.${name}); try { check(await host.${name}()) } catch (e) { check(e); for (const k of Reflect.ownKeys(e)) check(e[k]); }`);
    assert.equal(reason, "exit", `${name}: ${stderr}`);
  }
  const flood = await call("for (let i = 0; i < 20000; i++) host.take(i).catch(() => {})");
  assert.ok(["exit", "error", "cpu", "memory", "wall"].includes(flood.reason), flood.reason);
  const endless = await call("for (;;) host.take('x'.repeat(10000)).catch(() => {})");
  assert.ok(["error", "cpu", "memory", "wall"].includes(endless.reason), endless.reason);
  const waiting = await runtime.exec("1", { wallTimeLimitMs: 300 });
  assert.equal(waiting.reason, "exit");
  const hung = call("await host.never()");
  await new Promise((resolve) => setTimeout(resolve, 50));
  await runtime.dispose();
  assert.equal((await hung).reason, "disposed");
};
