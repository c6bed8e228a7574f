// This project, through its public entry.
import { existsSync } from "node:fs";
import { fileURLToPath, pathToFileURL } from "node:url";
import { server } from "../lib/server.mjs";

export const id = "secure-exec";
export const label = "secure-exec (this)";
export const notes = "Node 22's whole library in every VM. Cold rows run with the warm pool off (SECURE_EXEC_POOL=0).";
export const can = ["first", "cold", "pool", "warm", "memory", "resting", "alive", "kill", "compute", "files", "children", "base", "requests", "servers", "cycles"];

const entry = process.env.SECURE_EXEC_ENTRY ?? fileURLToPath(new URL("../../dist/index.js", import.meta.url));
let api;

export function available() {
  return existsSync(entry) || `not built: ${entry} is missing (npm run build)`;
}

export async function load() {
  api = await import(pathToFileURL(entry).href);
}

export const create = ({ cpuMs, realTime } = {}) =>
  vm({ ...(cpuMs === undefined ? {} : { cpuTimeLimitMs: cpuMs }), ...(realTime === true ? { timingMitigation: "off" } : {}) });

/** A VM with a directory of the host's at `/base`. */
export const createOver = (hostPath) => vm({ mounts: [{ path: "/base", source: "host", hostPath, mode: "cow" }] });

async function vm(options) {
  const runtime = await api.NodeRuntime.create(options);
  return {
    async exec(code) {
      const result = await runtime.exec(code);
      return { ok: result.code === 0, stdout: result.stdout ?? "", reason: result.reason, error: result.errorMessage };
    },
    dispose: () => runtime.dispose(),
  };
}

export async function createLive() {
  const runtime = await api.NodeRuntime.create();
  const context = await runtime.createContext();
  await context.execute("globalThis.kept = 1; console.log(kept)");
  return {
    async exec(code) {
      const result = await context.execute(code);
      return { ok: result === undefined || result.code === undefined || result.code === 0, stdout: result?.stdout ?? "" };
    },
    dispose: () => runtime.dispose(),
  };
}

/** A guest's server, driven through the kernel's socket table. */
export async function createServer() {
  const runtime = await api.NodeRuntime.create();
  await runtime.spawn(server(3000));
  await runtime.waitForListener({ port: 3000 });
  return {
    async get(path) {
      return (await runtime.fetch(3000, { path })).bytes().length;
    },
    dispose: () => runtime.dispose(),
  };
}

// The pool is automatic: `create` takes from it when it has something.
export const pool = { create };

export async function shutdown() {}
