// The generation with the constructor: every exec is a new isolate in one shared child process.
import { importPeer, hasPeer } from "../lib/peers.mjs";

export const id = "secure-exec-0.2.1";
export const label = "secure-exec 0.2.1";
export const notes =
  "All VMs share one child process, started by the first exec. By default it runs as many isolates at once as there are cores; the harness raises that (SECURE_EXEC_V8_MAX_SESSIONS). A finished exec keeps no isolate, so the live rows keep one exec waiting on a timer.";
export const can = ["first", "cold", "warm", "memory", "resting", "alive", "kill", "compute"];

let api;

export const available = () => hasPeer("secure-exec-0.2.1");

export async function load() {
  process.env.SECURE_EXEC_V8_MAX_SESSIONS ??= "1000";
  api = await importPeer("secure-exec-0.2.1", "dist/index.js");
}

function runtimeWith(onStdio, extra = {}) {
  return new api.NodeRuntime({
    systemDriver: api.createNodeDriver({}),
    runtimeDriverFactory: api.createNodeRuntimeDriverFactory(),
    onStdio,
    ...extra,
  });
}

export async function create({ cpuMs } = {}) {
  let stdout = "";
  const runtime = runtimeWith(
    (event) => {
      if (event.channel === "stdout") stdout += event.message;
    },
    cpuMs === undefined ? {} : { cpuTimeLimitMs: cpuMs },
  );
  return {
    async exec(code) {
      stdout = "";
      const result = await runtime.exec(code);
      return {
        ok: result.code === 0,
        stdout,
        reason: result.code === 124 ? "cpu" : "exit",
        error: result.errorMessage,
      };
    },
    dispose: () => runtime.dispose(),
  };
}

export async function createLive() {
  let waiting;
  const started = new Promise((resolve) => {
    waiting = resolve;
  });
  const runtime = runtimeWith(() => waiting());
  runtime.exec("globalThis.kept = 1; console.log(kept); await new Promise((r) => setTimeout(r, 3600e3));", {
    filePath: "/live.mjs",
  }).catch(() => {});
  await started;
  // One exec at a time holds the isolate; a second one on the same runtime answers the liveness probe.
  return {
    async exec(code) {
      const result = await runtime.exec(code);
      return { ok: result.code === 0, stdout: "" };
    },
    dispose: () => runtime.terminate(),
  };
}

export async function shutdown() {}
