// Plain Node 22: the yardstick of the compute and file rows. The program runs in the main context of a fresh process.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { Agent, get } from "node:http";
import { Script } from "node:vm";
import { server } from "../lib/server.mjs";

export const id = "node";
export const label = "Node 22";
export const notes = "No isolation at all; the program runs in the process's own main context.";
export const can = ["compute", "files", "children", "requests"];

export const available = () => true;
export async function load() {}

export async function create() {
  return {
    async exec(code) {
      const lines = [];
      const log = console.log;
      console.log = (text) => lines.push(String(text));
      try {
        await new Script(code).runInThisContext();
        return { ok: true, stdout: lines.join("\n"), reason: "exit" };
      } catch (error) {
        return { ok: false, stdout: lines.join("\n"), reason: "error", error: String(error) };
      } finally {
        console.log = log;
      }
    },
    dispose() {},
  };
}

/** `node:http` in a process of its own, driven over the machine's loopback interface. */
export async function createServer() {
  const child = spawn(process.execPath, ["-e", server(0)], { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = await once(child.stdout, "data");
  const port = Number(/listening (\d+)/.exec(line)[1]);
  const agent = new Agent({ keepAlive: true });
  return {
    get: (path) =>
      new Promise((resolve, reject) => {
        get({ port, host: "127.0.0.1", path, agent }, (response) => {
          const chunks = [];
          response.on("data", (chunk) => chunks.push(chunk));
          response.on("end", () => resolve(Buffer.concat(chunks).length));
        }).on("error", reject);
      }),
    async dispose() {
      agent.destroy();
      child.kill();
    },
  };
}

export async function shutdown() {}
