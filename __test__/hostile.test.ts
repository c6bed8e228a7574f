import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, test } from "vitest";
import { root } from "./support.js";

const FOLDER = fileURLToPath(new URL("hostile/", import.meta.url));
const HOST = `${FOLDER}host.mjs`;
/** A host parks some of what these programs leave behind and takes no new ones at 32. */
const VARIANTS_OF_A_HOST = 24;

interface Outcome {
  file?: string;
  each?: string;
  outcome?: string;
  wrong?: string[];
  begins?: true;
  end?: true;
}

/** Hosts that run at once: each has a guest and the canary beside it. */
const HOSTS = 2;
let running = 0;
const waiting: (() => void)[] = [];

/** Waits for its turn. */
async function turn<T>(work: () => Promise<T>): Promise<T> {
  if (running >= HOSTS) await new Promise<void>((resolve) => waiting.push(resolve));
  else running++;
  try {
    return await work();
  } finally {
    const next = waiting.shift();
    if (next) next();
    else running--;
  }
}

/** What one host said, and how it ended. */
function run(program: string): Promise<{ status: number | NodeJS.Signals | null; stderr: string; outcomes: Outcome[] }> {
  const child = spawn(process.execPath, [HOST, `file://${root}dist/index.js`, program], {
    stdio: ["ignore", "pipe", "pipe"],
    timeout: 110_000,
    killSignal: "SIGKILL",
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => (stdout += chunk));
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => (stderr += chunk));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (status, signal) => {
      const lines = stdout.split("\n").filter((line) => line !== "");
      resolve({ status: status ?? signal, stderr, outcomes: lines.map((line) => JSON.parse(line) as Outcome) });
    });
  });
}

/** Whether a program is for this platform: some attack what only our own archive of V8 lets us watch. */
function isForHere(file: string): boolean {
  const only = /^\/\/ @only (.+)$/m.exec(readFileSync(FOLDER + file, "utf8"))?.[1];
  return only === undefined || only.split(" ").includes(`${process.platform}-${process.arch}`);
}

/** The hosts that a program is spread over. */
function parts(file: string): { name: string; program: string; variants: number }[] {
  const variants = readFileSync(file, "utf8").split("\n").filter((line) => line.startsWith("// @each ")).length;
  if (variants === 0) return [{ name: basename(file), program: file, variants: 1 }];
  const starts = Array.from({ length: Math.ceil(variants / VARIANTS_OF_A_HOST) }, (_, index) => index * VARIANTS_OF_A_HOST);
  return starts.map((start) => {
    const end = Math.min(start + VARIANTS_OF_A_HOST, variants);
    return { name: `${basename(file)} ${start} to ${end}`, program: `${file}:${start}:${end}`, variants: end - start };
  });
}

const sections = readdirSync(FOLDER, { withFileTypes: true }).filter((entry) => entry.isDirectory());

describe.each(sections.map((section) => section.name))("%s", { concurrent: true, timeout: 600_000 }, (section) => {
  const files = readdirSync(FOLDER + section)
    .map((name) => `${section}/${name}`)
    .filter(isForHere);
  test.for(files.flatMap((file) => parts(FOLDER + file)))("$name", async ({ program, variants }, { expect }) => {
    const { status, stderr, outcomes } = await turn(() => run(program));
    const begun = outcomes.filter((outcome) => outcome.begins);
    const done = outcomes.filter((outcome) => outcome.outcome !== undefined);
    const wrong = outcomes.filter((outcome) => (outcome.wrong?.length ?? 0) > 0);
    expect({ wrong, stderr, status, last: done.length < variants ? begun.at(-1) : undefined }).toEqual({ wrong: [], stderr: "", status: 0, last: undefined });
    expect(done).toHaveLength(variants);
    expect(outcomes.at(-1)?.end).toBe(true);
  });
});
