// The benchmarks: every candidate, side by side, in one run.
//
//   npm run bench                       everything (about 20 minutes)
//   npm run bench -- --quick            few samples, small stairs: does it run, roughly where are we
//   npm run bench -- --scale 0.2        a fifth of the samples: about 6 minutes
//   npm run bench -- --only kill        one measure (repeatable); a candidate's id works too
//   npm run bench -- --no-peers         this project, node:worker_threads, node:vm and Node only
//   npm run bench -- --no-write         print, write nothing
//   npm run bench -- --resume           only what results/latest.json does not have yet
//   npm run bench -- --fresh            forget what is there
//
// Each measure goes to results/latest.json when it is done, over what was measured there before in the same way (same
// machine, Node, --quick and --scale): a run that is cut short loses nothing. Unless it is --quick, a run rewrites the
// tables of docs/benchmarks.md from that file, with a list of what is missing.
//
// Each (candidate, measure) runs in its own child process, in several rounds whose order alternates, so that what the
// machine does meanwhile hits all alike. All run under the same Node.
import { execFileSync, fork } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, writeFileSync } from "node:fs";
import { cpus, release, totalmem, type } from "node:os";
import { parseArgs } from "node:util";
import { fileURLToPath } from "node:url";

import { hostNode, installPeers } from "./lib/peers.mjs";
import { measurable } from "./lib/processes.mjs";
import { summary } from "./lib/stats.mjs";
import { markdown, updateDocument } from "./lib/report.mjs";

const { values: flags } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    scale: { type: "string", default: "1" },
    only: { type: "string", multiple: true, default: [] },
    node: { type: "string" },
    peers: { type: "boolean", default: true },
    write: { type: "boolean", default: true },
    resume: { type: "boolean", default: false },
    fresh: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
  allowNegative: true,
});

const CANDIDATES = ["secure-exec", "secure-exec-0.2.1", "secure-exec-0.2.21", "isolated-vm", "node-worker", "node-vm", "node"];
const PEERS = new Set(["secure-exec-0.2.1", "secure-exec-0.2.21", "isolated-vm"]);

const quick = flags.quick;
const programs = readdirSync(new URL("./programs/", import.meta.url))
  .filter((name) => name.endsWith(".js"))
  .map((name) => name.slice(0, -3))
  .sort();
const filePrograms = readdirSync(new URL("./files/", import.meta.url))
  .map((name) => name.slice(0, -3))
  .sort();

const childPrograms = readdirSync(new URL("./children/", import.meta.url))
  .map((name) => name.slice(0, -3))
  .sort();

/** Per measure: how many rounds (child processes per candidate), what each gets, and how long it may take. */
const PLAN = {
  first: { rounds: quick ? 2 : 12, options: {}, timeoutMs: 30_000, env: { SECURE_EXEC_POOL: "0" } },
  cold: { rounds: quick ? 1 : 4, options: { samples: quick ? 5 : 25 }, timeoutMs: 60_000, env: { SECURE_EXEC_POOL: "0" } },
  pool: { rounds: quick ? 1 : 4, options: { samples: quick ? 5 : 25, restMs: 50 }, timeoutMs: 60_000 },
  warm: { rounds: quick ? 1 : 4, options: { samples: quick ? 5 : 25, restMs: 20 }, timeoutMs: 60_000 },
  memory: { rounds: 1, options: { steps: quick ? [10] : [10, 50, 100], settleMs: quick ? 500 : 2000 }, timeoutMs: 180_000, linux: true },
  resting: { rounds: 1, options: { steps: quick ? [10] : [10, 50, 100], settleMs: quick ? 500 : 2000 }, timeoutMs: 180_000, linux: true },
  alive: { rounds: 1, options: { count: quick ? 25 : 500 }, timeoutMs: quick ? 60_000 : 300_000, linux: true },
  kill: { rounds: quick ? 1 : 4, options: { samples: quick ? 10 : 250, limitMs: 50 }, timeoutMs: 120_000 },
  cycles: { rounds: 1, options: { count: quick ? 50 : 10_000, settleMs: quick ? 500 : 10_000 }, timeoutMs: 300_000, linux: true },
  requests: { rounds: quick ? 1 : 3, options: { samples: quick ? 1 : 3, ms: quick ? 500 : 2000, clients: 16 }, timeoutMs: 60_000, each: ["hello", "megabyte"] },
  servers: { rounds: 1, options: { count: quick ? 10 : 200 }, timeoutMs: 120_000, linux: true },
  compute: { rounds: quick ? 1 : 5, options: { samples: 1 }, timeoutMs: 60_000, each: programs },
  files: {
    rounds: quick ? 1 : 5,
    options: { samples: 1 },
    timeoutMs: 120_000,
    each: filePrograms,
    // For Node, which has no files of its own: in memory, too.
    env: existsSync("/dev/shm") ? { TMPDIR: "/dev/shm" } : {},
  },
  children: { rounds: quick ? 1 : 3, options: {}, timeoutMs: 60_000, each: childPrograms },
  base: {
    rounds: 1,
    options: { steps: quick ? [10] : [10, 50, 100], settleMs: quick ? 500 : 2000, megabytes: quick ? 20 : 500 },
    timeoutMs: 600_000,
    linux: true,
  },
};

if (flags.help) {
  console.log(`measures: ${Object.keys(PLAN).join(", ")}\ncandidates: ${CANDIDATES.join(", ")}\nflags: --quick --scale <0..1> --only <name> --no-peers --no-write --node <binary>`);
  process.exit(0);
}
for (const name of flags.only) {
  if (!(name in PLAN) && !CANDIDATES.includes(name)) {
    console.error(`unknown name "${name}"; measures: ${Object.keys(PLAN).join(", ")}; candidates: ${CANDIDATES.join(", ")}`);
    process.exit(2);
  }
}
const scale = Number(flags.scale);
if (!(scale > 0 && scale <= 1)) {
  console.error(`--scale ${flags.scale}: a number above 0, at most 1`);
  process.exit(2);
}
for (const plan of Object.values(PLAN)) {
  if (quick || scale === 1) continue;
  plan.rounds = Math.max(1, Math.round(plan.rounds * Math.sqrt(scale)));
  if (plan.options.samples > 1) plan.options.samples = Math.max(5, Math.round(plan.options.samples * Math.sqrt(scale)));
}
const onlyMeasures = flags.only.filter((name) => name in PLAN);
const onlyCandidates = flags.only.filter((name) => CANDIDATES.includes(name));

if (flags.peers) installPeers((line) => console.error(line));
const node = flags.node ?? hostNode();

const candidates = [];
for (const id of CANDIDATES) {
  if (!flags.peers && PEERS.has(id)) continue;
  if (onlyCandidates.length > 0 && !onlyCandidates.includes(id)) continue;
  const module = await import(`./candidates/${id}.mjs`);
  const available = module.available();
  candidates.push({ id, label: module.label, notes: module.notes, can: new Set(module.can), available });
  if (available !== true) console.error(`skipped ${id}: ${available}`);
}

const active = new Set();
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, () => {
    for (const child of active) killTree(child);
    process.exit(130);
  });
}

function killTree(child) {
  try {
    // The child leads its own process group, so that a sidecar dies with it.
    process.kill(process.platform === "win32" ? child.pid : -child.pid, "SIGKILL");
  } catch {
    // It has ended by itself.
  }
}

function runChild(id, measure, options, { timeoutMs, env }) {
  return new Promise((resolve) => {
    const child = fork(fileURLToPath(new URL("./child.mjs", import.meta.url)), [id, measure, JSON.stringify(options)], {
      execPath: node,
      // isolated-vm needs its isolates made without Node's own snapshot; it changes nothing for the others.
      execArgv: ["--no-node-snapshot", "--expose-gc"],
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe", "ipc"],
      detached: process.platform !== "win32",
    });
    active.add(child);
    let stderr = "";
    let answer;
    child.stdout.resume();
    child.stderr.on("data", (chunk) => {
      stderr = (stderr + chunk).slice(-2000);
    });
    child.on("message", (message) => {
      answer = message;
    });
    const timer = setTimeout(() => {
      answer ??= { ok: false, error: `no answer within ${timeoutMs / 1000} s` };
      killTree(child);
    }, timeoutMs);
    child.on("exit", (code, signal) => {
      clearTimeout(timer);
      active.delete(child);
      killTree(child);
      resolve(answer ?? { ok: false, error: `ended with ${signal ?? code}: ${stderr.trim().split("\n").at(-1) ?? ""}` });
    });
  });
}

function alternate(list, round) {
  return round % 2 === 0 ? list : [...list].reverse();
}

/** Rounds of one measure over all candidates; answers per candidate, in order. */
async function measureAll(measure, plan, options, key, known = {}) {
  const able = candidates.filter(
    (candidate) => candidate.available === true && candidate.can.has(measure) && !isKnown(known[candidate.id]),
  );
  const answers = new Map(able.map((candidate) => [candidate.id, []]));
  for (let round = 0; round < plan.rounds; round += 1) {
    for (const { id } of alternate(able, round)) {
      // What failed once is not tried again: it would cost its whole time limit each round.
      if (answers.get(id).some((answer) => !answer.ok)) continue;
      const answer = await runChild(id, measure, options, plan);
      answers.get(id).push(answer);
      if (!answer.ok) console.error(`  ${key} ${id}: ${answer.error}`);
    }
  }
  if (able.length > 0) console.error(`${key} done`);
  return answers;
}

function combine(measure, answers) {
  const failed = answers.find((answer) => !answer.ok);
  if (failed !== undefined) return { error: failed.error };
  const results = answers.map((answer) => answer.result);
  if (["memory", "resting", "alive", "servers", "cycles", "base"].includes(measure)) return results[0];
  const combined = summary(results.flatMap((result) => result.samples));
  if (results[0].loadMs !== undefined) combined.loadMs = summary(results.map((result) => result.loadMs)).p50;
  if (results[0].startMs !== undefined) combined.startMs = summary(results.map((result) => result.startMs)).p50;
  if (results[0].checksum !== undefined) combined.checksum = results[0].checksum;
  return combined;
}

const machine = {
  cpu: cpus()[0]?.model ?? "unknown",
  cores: cpus().length,
  memoryGb: Math.round(totalmem() / 2 ** 30),
  system: `${type()} ${release()}`,
};
const nodeVersion = execFileSync(node, ["--version"], { encoding: "utf8" }).trim();
const file = new URL("./results/latest.json", import.meta.url);

/** What was measured before in the same way. */
function earlier() {
  if (flags.fresh || !existsSync(file)) return {};
  const report = JSON.parse(readFileSync(file, "utf8"));
  const way = ({ machine: where, node: version, quick: isQuick, scale: size }) => JSON.stringify([where, version, isQuick, size]);
  if (way(report) === way({ machine, node: nodeVersion, quick, scale })) return report.results;
  console.error("results/latest.json was measured in another way and is not added to");
  return {};
}

/** Whether `--resume` passes over a result. */
function isKnown(result) {
  return flags.resume && result !== undefined && result.error === undefined;
}

const results = earlier();

function reportOf() {
  const has = (entry, id) => entry?.[id] !== undefined;
  const missing = [];
  for (const [measure, { each, linux }] of Object.entries(PLAN)) {
    if (linux === true && !measurable) continue;
    for (const { id, label, can, available } of candidates) {
      if (available !== true || !can.has(measure)) continue;
      const lacks =
        each === undefined
          ? !has(results[measure], id)
          : each.filter((name) => !has(results[measure]?.[name], id)).length;
      if (lacks) missing.push(`${measure} of ${label}${each === undefined ? "" : ` (${lacks} of ${each.length})`}`);
    }
  }
  return {
    date: new Date().toISOString(),
    quick,
    scale,
    machine,
    node: nodeVersion,
    candidates: candidates.map(({ id, label, notes, available }) => ({ id, label, notes, available })),
    plan: Object.fromEntries(Object.entries(PLAN).map(([name, { rounds, options }]) => [name, { rounds, ...options }])),
    missing,
    results,
  };
}

function save() {
  if (!flags.write) return;
  mkdirSync(new URL("./results/", import.meta.url), { recursive: true });
  const next = new URL("./results/latest.json.new", import.meta.url);
  writeFileSync(next, `${JSON.stringify(reportOf(), null, 2)}\n`);
  renameSync(next, file);
}

for (const [measure, plan] of Object.entries(PLAN)) {
  if (onlyMeasures.length > 0 && !onlyMeasures.includes(measure)) continue;
  if (plan.linux === true && !measurable) {
    console.error(`${measure} skipped: it reads /proc, which ${process.platform} has not`);
    continue;
  }
  results[measure] ??= {};
  if (plan.each === undefined) {
    const answers = await measureAll(measure, plan, plan.options, measure, results[measure]);
    for (const [id, list] of answers) results[measure][id] = combine(measure, list);
    save();
  } else {
    for (const name of plan.each) {
      const entry = (results[measure][name] ??= {});
      const answers = await measureAll(measure, plan, { ...plan.options, program: name }, `${measure} ${name}`, entry);
      for (const [id, list] of answers) entry[id] = combine(measure, list);
      save();
      const checksums = new Set(Object.values(entry).map(({ checksum }) => checksum).filter(Boolean));
      if (checksums.size > 1) {
        console.error(`${name}: candidates disagree on the checksum: ${[...checksums].join(" | ")}`);
        process.exitCode = 1;
      }
    }
  }
}

const report = reportOf();
console.log(markdown(report));
if (flags.write && !quick) updateDocument(new URL("../docs/benchmarks.md", import.meta.url), markdown(report));
if (candidates.find(({ id, available }) => id === "secure-exec" && available === true) !== undefined) {
  const failures = Object.entries(results).flatMap(([measure, entries]) =>
    Object.entries(entries).filter(([key, value]) => (key === "secure-exec" && value.error) || value["secure-exec"]?.error).map(([key]) => `${measure} ${key}`),
  );
  if (failures.length > 0) {
    console.error(`secure-exec failed: ${failures.join(", ")}`);
    process.exitCode = 1;
  }
}
