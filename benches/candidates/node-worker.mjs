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

async function start() {
  const worker = new Worker(body, { eval: true, env: {} });
  await new Promise((resolve, reject) => {
    worker.once("online", resolve);
    worker.once("error", reject);
  });
  worker.removeAllListeners();
  return worker;
}

export async function create({ cpuMs } = {}) {
  let worker = await start();
  return {
    async exec(code) {
      worker ??= await start();
      const current = worker;
      const answer = Promise.withResolvers();
      current.once("error", answer.reject);
      current.once("message", answer.resolve);
      const timer =
        cpuMs === undefined
          ? undefined
          : setTimeout(async () => {
              worker = undefined;
              await current.terminate();
              answer.resolve({ ok: false, stdout: "", reason: "cpu" });
            }, cpuMs);
      current.postMessage(code);
      try {
        return await answer.promise;
      } finally {
        clearTimeout(timer);
        current.removeAllListeners();
      }
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
