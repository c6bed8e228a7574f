// From the results to a Markdown table with ratios, and from there into the document between two markers.
import { readFileSync, writeFileSync } from "node:fs";
import { geometricMean } from "./stats.mjs";

const US = "secure-exec";
const BEGIN = "<!-- bench:begin (written by benches/run.mjs) -->";
const END = "<!-- bench:end -->";

const TITLES = {
  first: "First VM of a process: create + exec, no pool (`import` apart)",
  cold: "Cold: create + exec, no pool",
  pool: "Create + exec from the warm pool",
  warm: "exec on a warm VM",
  kill: "Kill: `for(;;)` past its 50 ms limit",
};

const ms = (value) => (value === undefined ? "" : value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2));
const mb = (bytes) => (bytes === undefined ? "" : (bytes / 2 ** 20).toFixed(bytes >= 100 * 2 ** 20 ? 0 : 2));
const times = (value) => (Number.isFinite(value) ? `${value >= 10 ? value.toFixed(0) : value.toFixed(2)}x` : "");
const cell = (text) => String(text).replaceAll("|", "\\|").replaceAll("\n", " ").slice(0, 120);

function table(head, rows) {
  return [`| ${head.join(" | ")} |`, `|${head.map((_, i) => (i === 0 ? "---" : "---:")).join("|")}|`, ...rows.map((row) => `| ${row.map(cell).join(" | ")} |`)].join("\n");
}

export function markdown({ date, quick, scale, machine, node, candidates, plan, missing, results }) {
  const label = new Map(candidates.map(({ id, label: name }) => [id, name]));
  const out = [
    `Measured ${date.slice(0, 10)} on ${machine.cores} cores (${machine.cpu}), ${machine.memoryGb} GB, ${machine.system}; every candidate under Node ${node.replace("v", "")}${quick ? ", **quick mode: too few samples to quote**" : scale < 1 ? ` (--scale ${scale})` : ""}.`,
  ];
  for (const { label: name, available } of candidates) if (available !== true) out.push(`Not measured: ${name} (${available}).`);
  if (missing.length > 0) out.push(`**Still missing:** ${missing.join(", ")}.`);

  for (const [measure, title] of Object.entries(TITLES)) {
    const entries = results[measure];
    if (entries === undefined) continue;
    const ours = entries[US];
    const rows = Object.entries(entries).map(([id, entry]) => {
      if (entry.error !== undefined) return [label.get(id), `failed: ${entry.error}`, "", "", "", ""];
      const extra = measure === "first" ? ms(entry.loadMs) : measure === "kill" ? ms(entry.p999) : ms(entry.max);
      // How many times longer the peer takes than we do.
      const ratio = id === US || !(ours?.p50 > 0) ? "" : times(entry.p50 / ours.p50);
      return [label.get(id), ms(entry.p50), ms(entry.p95), extra, ratio, entry.n];
    });
    const third = measure === "first" ? "import, ms" : measure === "kill" ? "p99.9, ms" : "max, ms";
    out.push(`### ${title}`, table(["", "p50, ms", "p95, ms", third, "p50 / ours", "samples"], rows));
  }

  for (const [measure, title] of [
    ["memory", "Memory per idle VM that holds live JavaScript state"],
    ["resting", "Memory per idle VM that ran one program"],
    ["base", "Memory per VM on a directory of the host that all share"],
  ]) {
    const entries = results[measure];
    if (entries === undefined) continue;
    const steps = plan[measure].steps;
    const last = (entry) => entry?.steps?.at(-1)?.perVm;
    const rows = Object.entries(entries).map(([id, entry]) => {
      if (entry.error !== undefined) return [label.get(id), `failed: ${entry.error}`, ...steps.map(() => ""), ""];
      const ratio = id === US || last(entries[US]) === undefined ? "" : times(last(entry) / last(entries[US]));
      return [label.get(id), mb(entry.floor), ...entry.steps.map((step) => mb(step.perVm)), ratio];
    });
    out.push(
      `### ${title}`,
      "Proportional set size of the whole process tree after garbage collection, in MB; per VM above the process with its first VM (floor).",
      table(["", "floor", ...steps.map((count) => `per VM at ${count}`), "/ ours"], rows),
    );
  }

  if (results.alive !== undefined) {
    const count = plan.alive.count;
    const rows = Object.entries(results.alive).map(([id, entry]) =>
      entry.error !== undefined
        ? [label.get(id), `failed: ${entry.error}`, "", "", "", ""]
        : [label.get(id), `${entry.answered} of ${entry.count}${entry.stopped === undefined ? "" : ` (stopped: ${entry.stopped})`}`, ms(entry.createMs / entry.count), ms(entry.answerMs / entry.count), mb(entry.pss), entry.threads],
    );
    out.push(`### ${count} VMs alive`, table(["", "answered", "create each, ms", "answer each, ms", "process tree, MB", "threads"], rows));
  }

  if (results.cycles?.[US]?.count !== undefined) {
    const { count, early, middle, late } = results.cycles[US];
    const row = (name, { pss, threads, descriptors }) => [name, mb(pss), threads, descriptors];
    out.push(
      `### What stays after ${count} VMs were made, used and disposed of`,
      table(["after", "process, MB", "threads", "descriptors"], [row(`the first ${Math.ceil(count / 10)}`, early), row("half of them", middle), row("all", late)]),
    );
  }

  if (results.servers?.[US]?.count !== undefined) {
    const { count, answered, createMs, answerMs, pss, threads } = results.servers[US];
    out.push(`### ${count} VMs, each with a live HTTP server`, table(["answered", "start each, ms", "answer each, ms", "process tree, MB", "threads"], [[`${answered} of ${count}`, ms(createMs / count), ms(answerMs / count), mb(pss), threads]]));
  }

  if (results.requests !== undefined) {
    const rows = Object.entries(results.requests).map(([body, entry]) => {
      const [ours, node] = [entry[US], entry.node];
      const failed = ours?.error ?? node?.error;
      if (failed !== undefined) return [body, `failed: ${failed}`, "", ""];
      return [body, ours?.p50.toFixed(0), node?.p50.toFixed(0), ours && node ? times(ours.p50 / node.p50) : ""];
    });
    out.push(
      "### Requests per second, driven by the host",
      `\`node:http\` in a guest through \`runtime.fetch\`, and \`node:http\` in a process of its own over the loopback interface through \`http.get\` with kept connections; ${plan.requests.clients} clients in one process, medians.`,
      table(["body", "secure-exec", "Node 22", "ours / Node"], rows),
    );
  }

  if (results.children !== undefined) {
    const rows = Object.entries(results.children).map(([program, entry]) => {
      const [ours, node] = [entry[US], entry.node];
      const failed = ours?.error ?? node?.error;
      if (failed !== undefined) return [program, `failed: ${failed}`, "", "", ""];
      return [program, ms(ours?.p50), ms(ours?.p95), ms(node?.p50), ours && node ? times(node.p50 / ours.p50) : ""];
    });
    out.push(
      "### A child `node` that a program starts",
      "From the call to the child's exit, by the program's own clock; the child prints a line or answers a message.",
      table(["", "secure-exec p50, ms", "p95, ms", "Node 22 p50, ms", "Node / ours"], rows),
    );
  }

  for (const [measure, title, text] of [
    ["compute", "JavaScript compute, relative to Node 22", ""],
    ["files", "Files, relative to Node 22", " A VM's files are in its memory, Node's in a tmpfs."],
  ]) {
    const all = results[measure];
    if (all === undefined) continue;
    const ids = [...new Set(Object.values(all).flatMap((entry) => Object.keys(entry)))].filter((id) => id !== "node");
    const speed = (entry, id) => (entry[id]?.p50 === undefined || entry.node?.p50 === undefined ? undefined : entry.node.p50 / entry[id].p50);
    const rows = Object.entries(all).map(([program, entry]) => [
      program,
      ms(entry.node?.p50),
      ...ids.map((id) => (entry[id]?.error === undefined ? (speed(entry, id)?.toFixed(2) ?? "") : "failed")),
    ]);
    const means = ids.map((id) => {
      const speeds = Object.values(all).map((entry) => speed(entry, id)).filter((value) => value !== undefined);
      return speeds.length === 0 ? "" : `**${geometricMean(speeds).toFixed(2)}**`;
    });
    out.push(
      `### ${title}`,
      `1.00 is as fast as the same program in a fresh Node 22 process, more is faster. Whole time from the host's side, medians; what a VM needs to start an exec is in it.${text}`,
      table(["program", "Node 22, ms", ...ids.map((id) => label.get(id))], [...rows, ["**geometric mean**", "", ...means]]),
    );
  }

  out.push("### Notes", candidates.map(({ label: name, notes }) => `- **${name}**: ${notes}`).join("\n"));
  return out.join("\n\n");
}

/** Replaces what stands between the markers; the rest of the document is written by hand. */
export function updateDocument(url, text) {
  const document = readFileSync(url, "utf8");
  const begin = document.indexOf(BEGIN);
  const end = document.indexOf(END);
  if (begin === -1 || end < begin) throw new Error(`${url.pathname} has lost its bench markers`);
  writeFileSync(url, `${document.slice(0, begin + BEGIN.length)}\n\n${text}\n\n${document.slice(end)}`);
}
