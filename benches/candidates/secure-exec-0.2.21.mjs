// The generation with the agentOS sidecar.
import { importPeer, hasPeer } from "../lib/peers.mjs";

export const id = "secure-exec-0.2.21";
export const label = "secure-exec 0.2.21";
export const notes =
  "VMs live in one sidecar process; it keeps warm isolates by itself, so the pool row is create() after init() with time to refill.";
export const can = ["first", "cold", "pool", "warm", "memory", "resting", "alive", "kill", "compute"];

let api;

export const available = () => hasPeer("secure-exec-0.2.21");

export async function load() {
  api = await importPeer("secure-exec-0.2.21", "dist/index.js");
}

export async function create({ cpuMs } = {}) {
  const vm = await api.createVm();
  return {
    async exec(code) {
      const result = await vm.javascript.execute(code, {
        output: { capture: "all" },
        timeoutMs: cpuMs ?? 300_000,
      });
      return {
        ok: result.outcome === "succeeded",
        stdout: result.stdout ?? "",
        reason: result.outcome === "timed_out" ? "cpu" : result.outcome,
        error: result.error?.message,
      };
    },
    dispose: () => vm.dispose(),
  };
}

export async function createLive() {
  const vm = await api.createVm();
  const context = await vm.createContext();
  await context.execute("globalThis.kept = 1; console.log(kept)");
  return {
    async exec(code) {
      const result = await context.execute(code);
      return { ok: result.outcome === "succeeded", stdout: "" };
    },
    dispose: () => vm.dispose(),
  };
}

export const pool = {
  async warm() {
    await api.init();
  },
  create,
};

export async function shutdown() {
  await api.shutdown();
}
