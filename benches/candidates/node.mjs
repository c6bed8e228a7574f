// Plain Node 22: the yardstick of the compute rows. The program runs in the main context of a fresh process.
import { Script } from "node:vm";

export const id = "node";
export const label = "Node 22";
export const notes = "No isolation at all; the program runs in the process's own main context.";
export const can = ["compute"];

export const available = () => true;
export async function load() {}

export async function create() {
  return {
    async exec(code) {
      const lines = [];
      const log = console.log;
      console.log = (text) => lines.push(String(text));
      try {
        new Script(code).runInThisContext();
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

export async function shutdown() {}
