// Node's own worker thread: Node's API, no isolation from the process.
import { Worker } from "node:worker_threads";

export const id = "node-worker";
export const label = "node:worker_threads";
export const notes = "Not a sandbox. A VM is a Worker that evaluates what it is sent in its one global scope; the kill row is terminate() after a wall-clock timer.";
export const can = ["first", "cold", "warm", "memory", "resting", "alive", "kill", "compute"];

const body = `
  const { parentPort } = require("node:worker_threads");
  const { Script } = require("node:vm");
  let lines = [];
  console.log = (text) => { lines.push(String(text)); };
  parentPort.on("message", (code) => {
    lines = [];
    let result;
    try { new Script(code).runInThisContext(); result = { ok: true, reason: "exit" }; }
    catch (error) { result = { ok: false, reason: "error", error: String(error) }; }
    parentPort.postMessage({ ...result, stdout: lines.join("\\n") });
  });
`;

export const available = () => true;
export async function load() {}

export async function create({ cpuMs } = {}) {
  let worker = new Worker(body, { eval: true, env: {} });
  return {
    exec(code) {
      worker ??= new Worker(body, { eval: true, env: {} });
      const current = worker;
      return new Promise((resolve, reject) => {
        let timer;
        current.once("error", reject);
        current.once("message", (result) => {
          clearTimeout(timer);
          current.removeListener("error", reject);
          resolve(result);
        });
        if (cpuMs !== undefined) {
          timer = setTimeout(async () => {
            await current.terminate();
            worker = undefined;
            resolve({ ok: false, stdout: "", reason: "cpu" });
          }, cpuMs);
        }
        current.postMessage(code);
      });
    },
    async dispose() {
      await worker?.terminate();
    },
  };
}

export async function createLive() {
  const live = await create();
  await live.exec("globalThis.kept = 1; console.log(kept); globalThis.gc?.()");
  return live;
}

export async function shutdown() {}
