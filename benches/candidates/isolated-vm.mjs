// A bare isolate without Node's API: the floor that V8 itself sets.
import { requirePeer, hasPeer } from "../lib/peers.mjs";

export const id = "isolated-vm";
export const label = "isolated-vm 6.1.2";
export const notes = "No Node API in the guest, only a console.log that the harness adds; its limit is a wall-clock timeout.";
export const can = ["first", "cold", "warm", "memory", "resting", "alive", "kill", "compute"];

let ivm;

export const available = () => hasPeer("isolated-vm");

export async function load() {
  ivm = requirePeer("isolated-vm");
}

async function vm(cpuMs, keepContext) {
  const isolate = new ivm.Isolate({ memoryLimit: 512 });
  let context = keepContext ? await freshContext(isolate) : undefined;
  return {
    isolate,
    async exec(code) {
      const own = context ?? (await freshContext(isolate));
      own.lines.length = 0;
      try {
        await own.context.eval(code, cpuMs === undefined ? {} : { timeout: cpuMs });
        return { ok: true, stdout: own.lines.join("\n"), reason: "exit" };
      } catch (error) {
        return {
          ok: false,
          stdout: own.lines.join("\n"),
          reason: /timed out/.test(error.message) ? "cpu" : "error",
          error: error.message,
        };
      } finally {
        if (context === undefined) own.context.release();
      }
    },
    dispose() {
      context = undefined;
      isolate.dispose();
    },
  };
}

async function freshContext(isolate) {
  const context = await isolate.createContext();
  const lines = [];
  await context.evalClosure("globalThis.console = { log: (text) => $0.applySync(undefined, [String(text)]) }", [
    new ivm.Reference((text) => {
      lines.push(text);
    }),
  ]);
  return { context, lines };
}

export const create = ({ cpuMs } = {}) => vm(cpuMs, false);

export async function createLive() {
  const live = await vm(undefined, true);
  await live.exec("globalThis.kept = 1; console.log(kept); typeof gc === 'function' && gc(); 0");
  return live;
}

export async function shutdown() {}
