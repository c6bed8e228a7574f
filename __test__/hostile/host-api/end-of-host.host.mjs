// A host that ends in any way while guests run does so at once and without a fault.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";

export default async ({}) => {
  const ways = ["process.exit(3)", "process.nextTick(() => { throw new Error('mine') })", "process.kill(process.pid, 'SIGTERM')", "process.abort !== 1 && process.reallyExit(3)"];
  await Promise.all(ways.map((way) => new Promise((resolve, reject) => {
    const code = `const { NodeRuntime } = await import(${JSON.stringify(process.argv[2])});
      const runtimes = await Promise.all(Array.from({ length: 8 }, () => NodeRuntime.create()));
      for (const r of runtimes.slice(0, 3)) { r.exec("for (;;);"); r.exec("setInterval(() => {}, 1)"); }
      runtimes[3].exec("Array.prototype.indexOf.call({ length: 2 ** 53 - 1 }, 1)");
      runtimes[4].exec("const a = []; for (;;) a.push(new Uint8Array(1e6))");
      runtimes[5].exec("new (require('worker_threads').Worker)('for (;;);', { eval: true })");
      setTimeout(() => { ${way} }, 150);`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", code], { stdio: ["ignore", "pipe", "pipe"] });
    const timer = setTimeout(() => child.kill("SIGKILL"), 20_000);
    let stderr = "";
    child.stderr.on("data", (data) => (stderr += data));
    child.on("close", (status, signal) => {
      clearTimeout(timer);
      const expected = way.includes("SIGTERM") ? signal === "SIGTERM" : status === (way.includes("throw") ? 1 : 3);
      if (expected) resolve();
      else reject(new Error(`${way}: ${status ?? signal}\n${stderr}`));
    });
  })));
};
