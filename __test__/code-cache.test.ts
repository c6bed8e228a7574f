/** Compiled code that runtimes share. Each test has texts of its own: the cache is that of the whole OS process. */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { randomUUID } from "node:crypto";
import { afterAll, expect, test } from "vitest";
import { NodeRuntime } from "secure-exec";
import type { NodeRuntimeCreateOptions, RuntimeStats } from "secure-exec";
import { inChild, lastLine, make } from "./support.js";

const cwd = mkdtempSync(join(tmpdir(), "secure-exec-"));
afterAll(() => rmSync(cwd, { recursive: true }));

/** A package of a text that nobody else has; long enough to be kept. */
function newPackage(name: string, source: (mark: string) => string, file = "index.js"): void {
  mkdirSync(join(cwd, "node_modules", name), { recursive: true });
  const mark = randomUUID();
  writeFileSync(join(cwd, "node_modules", name, file), `${source(mark)}\n// ${"x".repeat(2000)}\n`);
  writeFileSync(join(cwd, "node_modules", name, "package.json"), JSON.stringify({ name, main: file, exports: `./${file}` }));
}

async function settled(runtime: NodeRuntime): Promise<RuntimeStats["codeCache"]> {
  for (;;) {
    const { codeCache } = await runtime.stats();
    if (codeCache.waiting === 0) return codeCache;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

async function print(runtime: NodeRuntime, code: string): Promise<string> {
  const { stdout, stderr, code: exit } = await runtime.exec(code, { filePath: "/workspace/main.mjs" });
  if (exit !== 0) throw new Error(stderr);
  return stdout ?? "";
}

const access = (more: object = {}): NodeRuntimeCreateOptions => ({ moduleAccess: { cwd }, ...more });

test("code of an overlay's modules is used by the next program, in any runtime, and does the same", async () => {
  newPackage("cjs-one", (mark) => `let n = 0; exports.next = function next() { return "${mark}".length + n++; };
    exports.stack = () => new Error("here").stack.split("\\n")[1].trim(); exports.where = __filename;`);
  newPackage("esm-one", (mark) => `let n = 0; export const next = () => "${mark}".length + n++; export const url = import.meta.url;
    export const load = () => import("cjs-one");`, "index.mjs");
  const program = `import cjs from "cjs-one"; import { next, url, load } from "esm-one";
    console.log(cjs.next(), cjs.next(), cjs.stack(), cjs.where, next(), url, (await load()).default === cjs);`;
  const [one, other, off] = [await make(access()), await make(access()), await make(access({ codeCache: false }))];
  const plain = await print(off, program);
  expect(plain).toMatch(/^36 37 at exports\.stack \(\/app\/node_modules\/cjs-one\/index\.js:2:27\) .* true\n$/);
  const before = await settled(one);
  expect(await print(one, program)).toBe(plain);
  const made = await settled(one);
  expect(made.entries - before.entries).toBe(2);
  for (const runtime of [other, one]) expect(await print(runtime, program)).toBe(plain);
  const after = await settled(one);
  expect(after.hits - made.hits).toBeGreaterThanOrEqual(4);
  expect(await print(off, program)).toBe(plain);
  expect((await settled(one)).hits).toBe(after.hits);
});

test("a changed file is another text", async () => {
  newPackage("changes", (mark) => `module.exports = "first ${mark.length}";`);
  const runtime = await make(access());
  const program = `import value from "changes"; console.log(value);`;
  expect(await print(runtime, program)).toBe("first 36\n");
  await settled(runtime);
  newPackage("changes", (mark) => `module.exports = "other ${mark.length}";`);
  expect(await print(runtime, program)).toBe("other 36\n");
});

test("what a guest can write takes no part", async () => {
  const runtime = await make(access());
  const before = await settled(runtime);
  const long = `exports.x = 1; // ${randomUUID()} ${"y".repeat(3000)}`;
  await runtime.fs.writeFile("/workspace/own.cjs", long);
  await runtime.fs.writeFile("/workspace/own.mjs", `export const x = 1; // ${long}`);
  await print(runtime, `import "./own.cjs"; import "./own.mjs"; console.log(1);`);
  expect(await settled(runtime)).toEqual(before);
});

test("a text under the name of a mount's file is code for nobody else", async () => {
  newPackage("victim", (mark) => `module.exports = "good ${mark.length}";`);
  const [attacker, user] = [await make(access()), await make(access())];
  // As long as the file, and under its name: only the text counts.
  const attack = `import Module from "node:module"; import fs from "node:fs";
    const path = "/app/node_modules/victim/index.js"; const text = fs.readFileSync(path, "utf8");
    const m = new Module(path); m._compile(text.replace("good", "evil"), path); console.log(m.exports);`;
  for (let round = 0; round < 2; round++) {
    expect(await print(attacker, attack)).toBe("evil 36\n");
    await settled(attacker);
  }
  expect(await print(user, `import value from "victim"; console.log(value);`)).toBe("good 36\n");
});

test("one runtime's share of the work is bounded, and so is the cache", async () => {
  const child = await inChild(`
    const { mkdtempSync, mkdirSync, writeFileSync } = await import("node:fs");
    const cwd = mkdtempSync((await import("node:os")).tmpdir() + "/secure-exec-");
    mkdirSync(cwd + "/node_modules");
    const runtime = await NodeRuntime.create({ moduleAccess: { cwd }, codeCache: { maxBytes: 1 << 20 } });
    const { stderr } = await runtime.exec(\`const Module = require("module"); const path = "/app/node_modules/none.js";
      for (let i = 0; i < 400; i++) {
        const m = new Module(path); m._compile("module.exports = [" + "1.5,".repeat(4000) + i + "];", path);
      }\`);
    let stats;
    do { await sleep(20); stats = (await runtime.stats()).codeCache; } while (stats.waiting > 0);
    await runtime.dispose();
    console.log(JSON.stringify([stderr, stats.entries > 0, stats.bytes <= 1 << 20]));`);
  expect(lastLine(child)).toEqual(["", true, true]);
  await expect(NodeRuntime.create({ codeCache: { maxBytes: 1 } })).rejects.toThrow(/codeCache\.maxBytes must be an integer from/);
  await expect(NodeRuntime.create({ codeCache: true as never })).rejects.toThrow(/codeCache must be an object/);
});

test("sources that do not compile, and those that are too much, are the guest's own errors", async () => {
  newPackage("broken", (mark) => `const ${"a"} = ; // ${mark}`);
  newPackage("deep", (mark) => `module.exports = ${"(".repeat(20_000)}1${")".repeat(20_000)}; // ${mark}`);
  const runtime = await make(access());
  for (let round = 0; round < 2; round++) {
    const caught = `const error = (name) => import(name).then(() => "ok", (e) => e.name);
      console.log(await error("broken"), await error("deep"));`;
    expect(await print(runtime, caught)).toMatch(/^SyntaxError (ok|RangeError)\n$/);
    await settled(runtime);
  }
});
