// Values and sources that are small for the guest and endless for whoever reads them: the host's event loop goes on.
import assert from "node:assert/strict";

/** The longest time for which the loop stood while `action` ran, and what came of it. */
async function standing(action) {
  let [last, worst] = [performance.now(), 0];
  const look = () => {
    const now = performance.now();
    worst = Math.max(worst, now - last);
    last = now;
  };
  const timer = setInterval(look, 2);
  const result = await action();
  look();
  clearInterval(timer);
  return { result, worst };
}

/** Each of these stopped the loop for many seconds, or for good; the machine may be busy. */
const MOST_MS = 1500;

export default async ({ NodeRuntime, api }) => {
  const { evaluate, execute } = await import(api);
  const { codeMode } = await import(new URL("code-mode.js", api).href);
  const heard = [];
  const hostFunctions = { take: (value) => heard.push(value), large: async () => new Uint8Array(8 << 20) };
  const runtime = await NodeRuntime.create({ memoryLimit: 128, cpuTimeLimitMs: 10_000, hostFunctions });
  const colliding = (collection) => `const all = new ${collection}; for (let i = 0n; i < 30000n; i++) all.${collection === "Map" ? "set" : "add"}((i << 64n) | 1n, 0);`;
  const costly = "const all = []; for (let i = 0; i < 200; i++) all.push(new RegExp('\\\\p{RGI_Emoji}' + i, 'iv'));";
  const shared = (depth) => `let all = [1]; for (let i = 0; i < ${depth}; i++) all = [all, all];`;
  const tooLarge = /ERR_SANDBOX_PAYLOAD_TOO_LARGE/;
  const attacks = {
    "keys of a Map that all fall together": async () => {
      const { reason, errorMessage } = await runtime.run(`${colliding("Map")} export { all }`);
      assert.equal(reason, "error");
      assert.match(errorMessage, tooLarge);
    },
    "values of a Set that do, as an argument": async () => {
      const { stdout, reason } = await runtime.exec(`${colliding("Set")} SecureExec.bindings.take(all).catch((e) => console.log(e.code))`);
      assert.deepEqual({ stdout, reason }, { stdout: "ERR_SANDBOX_PAYLOAD_TOO_LARGE\n", reason: "exit" });
    },
    "regular expressions that take long to compile": async () => {
      const { reason, errorMessage } = await runtime.run(`${costly} export { all }`);
      if (reason !== "cpu") assert.match(errorMessage, tooLarge);
    },
    "as many objects as may cross": async () => {
      const { exports } = await runtime.run("export const all = []; for (let i = 0; i < 150000; i++) all.push(new Map())");
      assert.equal(exports.all.length, 150_000);
    },
    "many answers at a time": async () => {
      const { reason } = await runtime.exec("for (let i = 0; i < 200; i++) SecureExec.bindings.large().catch(() => {})");
      assert.ok(["exit", "memory"].includes(reason), reason);
    },
    "JSON of parts that stand in many places": async () => {
      const { outcome, error } = await evaluate(`${shared(30)} all`);
      assert.deepEqual([outcome, error.code], ["failed", "evaluation_serialization_failed"]);
    },
    "JSON of nothing but holes": async () => {
      const { outcome } = await evaluate("const all = []; all.length = 2 ** 32 - 1; all");
      assert.equal(outcome, "failed");
    },
    "comments before a program": async () => {
      const { outcome } = await execute(`${"/**/".repeat(40)}1`, { inputs: {} });
      assert.equal(outcome, "succeeded");
    },
    "texts of code mode that are none": async () => {
      const { status } = await codeMode.execute(
        `${shared(30)} const { log, invoke } = SecureExec.bindings; for (const value of [all, new Map([[all, all]]), 'a.'.repeat(1e6)]) { await log('log', value).catch(() => {}); await invoke(value, {}).catch(() => {}) }`,
      );
      assert.equal(status, "completed");
    },
  };
  for (const [name, attack] of Object.entries(attacks)) {
    let { worst } = await standing(attack);
    // The machine may have stood instead; what a guest does it does again.
    if (worst >= MOST_MS) ({ worst } = await standing(attack));
    assert.ok(worst < MOST_MS, `${name}: the loop stood for ${Math.round(worst)} ms`);
  }
  await runtime.dispose();
};
