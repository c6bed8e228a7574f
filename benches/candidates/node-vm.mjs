// node:vm contexts in the process's own isolate: the cheapest thing that looks like isolation, and is none.
import vm from "node:vm";

export const id = "node-vm";
export const label = "node:vm";
export const notes = "Not a sandbox and not an isolate: a context in the host's own heap, without Node's API.";
export const can = ["first", "cold", "warm", "memory", "resting", "alive", "kill", "compute"];

export const available = () => true;
export async function load() {}

function contextWithConsole() {
  const lines = [];
  const context = vm.createContext({ console: { log: (text) => lines.push(String(text)) } });
  return { context, lines };
}

function run({ context, lines }, code, cpuMs) {
  lines.length = 0;
  try {
    vm.runInContext(code, context, cpuMs === undefined ? {} : { timeout: cpuMs });
    return { ok: true, stdout: lines.join("\n"), reason: "exit" };
  } catch (error) {
    const reason = error.code === "ERR_SCRIPT_EXECUTION_TIMEOUT" ? "cpu" : "error";
    return { ok: false, stdout: lines.join("\n"), reason, error: String(error) };
  }
}

export async function create({ cpuMs } = {}) {
  return {
    exec: async (code) => run(contextWithConsole(), code, cpuMs),
    dispose() {},
  };
}

export async function createLive() {
  const kept = contextWithConsole();
  run(kept, "globalThis.kept = 1; console.log(kept)");
  return { exec: async (code) => run(kept, code), dispose() {} };
}

export async function shutdown() {}
