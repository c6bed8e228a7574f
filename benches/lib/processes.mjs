// What a process and all its descendants cost, from /proc. Linux only; elsewhere every answer is undefined.
import { readFileSync, readdirSync } from "node:fs";

export const measurable = process.platform === "linux";

function text(path) {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** `pid` and everything it has started that is still alive. */
export function tree(pid) {
  const pids = [pid];
  for (let i = 0; i < pids.length; i += 1) {
    let tasks = [];
    try {
      tasks = readdirSync(`/proc/${pids[i]}/task`);
    } catch {
      continue;
    }
    for (const task of tasks) {
      const children = text(`/proc/${pids[i]}/task/${task}/children`).trim();
      if (children !== "") pids.push(...children.split(" ").map(Number));
    }
  }
  return pids;
}

/** Proportional set size of the tree in bytes. */
export function pss(pid = process.pid) {
  if (!measurable) return undefined;
  let kilobytes = 0;
  for (const member of tree(pid)) {
    kilobytes += Number(/^Pss:\s+(\d+) kB/m.exec(text(`/proc/${member}/smaps_rollup`))?.[1] ?? 0);
  }
  return kilobytes * 1024;
}

export function threads(pid = process.pid) {
  if (!measurable) return undefined;
  let count = 0;
  for (const member of tree(pid)) {
    count += Number(/^Threads:\s+(\d+)/m.exec(text(`/proc/${member}/status`))?.[1] ?? 0);
  }
  return count;
}

/** Open descriptors of the process itself. */
export function descriptors() {
  return measurable ? readdirSync("/proc/self/fd").length : undefined;
}

/** What the system could still give out, in bytes. */
export function availableMemory() {
  return Number(/^MemAvailable:\s+(\d+) kB/m.exec(text("/proc/meminfo"))?.[1] ?? Infinity) * 1024;
}
