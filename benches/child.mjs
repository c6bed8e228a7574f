// One candidate, one measure, one process: `node child.mjs <candidate> <measure> <options as JSON>`.
// The answer goes to the parent as one IPC message.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { availableMemory, descriptors, pss, threads } from "./lib/processes.mjs";
import { PATHS } from "./lib/server.mjs";

const [name, measure, json] = process.argv.slice(2);
const options = JSON.parse(json);
const candidate = await import(new URL(`./candidates/${name}.mjs`, import.meta.url));

const TRIVIAL = 'console.log("ready " + (40 + 2))';
const EXPECTED = "ready 42";
/** Never ends. */
const LOOP = "for (;;) {}";

function check(result, expected = EXPECTED) {
  if (!result.ok || result.stdout.trim() !== expected) {
    throw new Error(`unexpected result: ${JSON.stringify(result).slice(0, 400)}`);
  }
}

async function timed(work) {
  const start = performance.now();
  const value = await work();
  return { ms: performance.now() - start, value };
}

async function collect() {
  for (let i = 0; i < 3; i += 1) {
    globalThis.gc?.();
    await sleep(50);
  }
}

async function createAndExec(create) {
  const { ms, value } = await timed(async () => {
    const vm = await create();
    check(await vm.exec(TRIVIAL));
    return vm;
  });
  await value.dispose();
  return ms;
}

const measures = {
  /** The first VM of a fresh process; what was paid for `import` is reported apart. */
  async first({ loadMs }) {
    return { samples: [await createAndExec(candidate.create)], loadMs };
  },

  /** create + exec in a process that has run one VM before. */
  async cold() {
    await createAndExec(candidate.create);
    const samples = [];
    for (let i = 0; i < options.samples; i += 1) samples.push(await createAndExec(candidate.create));
    return { samples };
  },

  /** create + exec with the warm pool full: the pool gets `restMs` to refill between samples. */
  async pool() {
    await candidate.pool.warm?.();
    await createAndExec(candidate.pool.create);
    const samples = [];
    for (let i = 0; i < options.samples; i += 1) {
      await sleep(options.restMs);
      samples.push(await createAndExec(candidate.pool.create));
    }
    return { samples };
  },

  /** exec on a VM that has run before. */
  async warm() {
    const vm = await candidate.create();
    for (let i = 0; i < 3; i += 1) check(await vm.exec(TRIVIAL));
    const samples = [];
    for (let i = 0; i < options.samples; i += 1) {
      if (options.restMs > 0) await sleep(options.restMs);
      const { ms, value } = await timed(() => vm.exec(TRIVIAL));
      check(value);
      samples.push(ms);
    }
    await vm.dispose();
    return { samples };
  },

  /** Bytes of the process tree per VM that holds live JavaScript state, at each step of the staircase. */
  memory: () => staircase(candidate.createLive),

  /** The same for VMs that ran one program and were kept. */
  resting: () =>
    staircase(async () => {
      const vm = await candidate.create();
      check(await vm.exec(TRIVIAL));
      return vm;
    }),

  /** Many live VMs in one process: all made, all answer once more. Stops early when they eat the machine. */
  async alive() {
    const vms = [];
    const ceiling = availableMemory() / 2;
    let stopped;
    const { ms: createMs } = await timed(async () => {
      while (vms.length < options.count && stopped === undefined) {
        vms.push(await candidate.createLive());
        if (vms.length % 25 === 0 && pss() > ceiling) stopped = "half of the free memory was in use";
      }
    });
    let answered = 0;
    const { ms: answerMs } = await timed(async () => {
      for (const vm of vms) if ((await vm.exec("console.log(1 + 1)")).ok) answered += 1;
    });
    await collect();
    return { count: vms.length, stopped, answered, createMs, answerMs, pss: pss(), threads: threads() };
  },

  /** How long after a CPU limit a program that never yields is gone. */
  async kill() {
    const vm = await candidate.create({ cpuMs: options.limitMs });
    const trivial = [];
    for (let i = 0; i < 5; i += 1) trivial.push((await timed(() => vm.exec(TRIVIAL))).ms);
    trivial.sort((a, b) => a - b);
    const startMs = trivial[2];
    const samples = [];
    for (let i = 0; i < options.samples; i += 1) {
      const { ms, value } = await timed(() => vm.exec(LOOP));
      if (value.ok || value.reason !== "cpu") throw new Error(`not killed: ${JSON.stringify(value)}`);
      samples.push(ms - options.limitMs);
    }
    check(await vm.exec(TRIVIAL));
    await vm.dispose();
    return { samples, startMs };
  },

  /** What stays of VMs that were made, used and disposed of, between a tenth of them and all. */
  async cycles() {
    const cycle = async (count) => {
      for (let i = 0; i < count; i += 1) await createAndExec(candidate.create);
      await collect();
      await sleep(options.settleMs);
      await collect();
      return { pss: pss(), threads: threads(), descriptors: descriptors() };
    };
    const tenth = Math.ceil(options.count / 10);
    const half = Math.ceil(options.count / 2);
    const early = await cycle(tenth);
    const middle = await cycle(half - tenth);
    const late = await cycle(options.count - half);
    return { count: options.count, early, middle, late };
  },

  /** Requests per second of `clients` that each wait for an answer before they ask again, driven by this process. */
  async requests() {
    const { get, dispose } = await candidate.createServer();
    const path = PATHS[options.program];
    const expected = options.program === "hello" ? 5 : 2 ** 20;
    const drive = async (ms) => {
      let count = 0;
      const start = performance.now();
      const client = async () => {
        while (performance.now() - start < ms) {
          const bytes = await get(path);
          if (bytes !== expected) throw new Error(`${path}: ${bytes} bytes`);
          count += 1;
        }
      };
      await Promise.all(Array.from({ length: options.clients }, client));
      return (count * 1000) / (performance.now() - start);
    };
    await drive(options.ms / 4);
    const samples = [];
    for (let i = 0; i < options.samples; i += 1) samples.push(await drive(options.ms));
    await dispose();
    return { samples };
  },

  /** Many VMs in one process, each with a live server: all answer. */
  async servers() {
    const servers = [];
    const { ms: createMs } = await timed(async () => {
      while (servers.length < options.count) servers.push(await candidate.createServer());
    });
    let answered = 0;
    const { ms: answerMs } = await timed(async () => {
      for (const { get } of servers) if ((await get(PATHS.hello)) === 5) answered += 1;
    });
    await collect();
    return { count: servers.length, answered, createMs, answerMs, pss: pss(), threads: threads() };
  },

  /** One program, fresh each time: whole time from the host's side, and the checksum it printed. */
  compute: () => programs("./programs/"),

  /** The same for programs that use files: the VM's own, and for Node those of a tmpfs. */
  files: () => programs("./files/"),

  /** From `spawn` or `fork` in a program to the exit of its child, by the program's own clock. */
  async children() {
    const code = readFileSync(new URL(`./children/${options.program}.js`, import.meta.url), "utf8");
    const vm = await candidate.create({ realTime: true });
    const { ok, stdout, ...rest } = await vm.exec(code);
    if (!ok) throw new Error(`program failed: ${JSON.stringify(rest).slice(0, 400)}`);
    await vm.dispose();
    return { samples: JSON.parse(stdout) };
  },

  /** Memory per VM of many that share one large directory of the host, copied on write, in which each has worked. */
  async base() {
    const directory = mkdtempSync(join(tmpdir(), "secure-exec-base-"));
    try {
      const data = Buffer.alloc(100 << 10, "x");
      const count = Math.ceil((options.megabytes << 20) / data.length);
      for (let i = 0; i < count; i += 1) {
        if (i % 100 === 0) mkdirSync(join(directory, `package-${i / 100}`));
        writeFileSync(join(directory, `package-${Math.floor(i / 100)}`, `${i}.js`), data);
      }
      return await staircase(async () => {
        const vm = await candidate.createOver(directory);
        check(await vm.exec(BASE_PROGRAM), "10 1024");
        return vm;
      });
    } finally {
      rmSync(directory, { recursive: true });
    }
  },
};

/** Reads what is below and writes beside it. */
const BASE_PROGRAM = `const fs = process.getBuiltinModule("fs");
  let read = 0;
  for (let i = 0; i < 10; i += 1) if (fs.readFileSync("/base/package-0/" + i + ".js").length === 102400) read += 1;
  fs.writeFileSync("/base/package-0/new", "x".repeat(1024));
  console.log(read + " " + fs.statSync("/base/package-0/new").size)`;

async function programs(folder) {
  const code = readFileSync(new URL(`${folder}${options.program}.js`, import.meta.url), "utf8");
  const vm = await candidate.create({});
  check(await vm.exec(TRIVIAL));
  const samples = [];
  let checksum;
  for (let i = 0; i < options.samples; i += 1) {
    const { ms, value } = await timed(() => vm.exec(code));
    if (!value.ok) throw new Error(`program failed: ${JSON.stringify(value).slice(0, 400)}`);
    checksum = value.stdout.trim();
    samples.push(ms);
  }
  await vm.dispose();
  return { samples, checksum };
}

async function staircase(create) {
  // The first VM pays for what all share; it is the floor that the steps are measured from.
  const vms = [await create()];
  await collect();
  await sleep(options.settleMs);
  const floor = pss();
  const steps = [];
  for (const count of options.steps) {
    while (vms.length < count + 1) vms.push(await create());
    await collect();
    await sleep(options.settleMs);
    await collect();
    const total = pss();
    steps.push({ count, total, perVm: (total - floor) / count });
  }
  return { floor, steps };
}

try {
  const { ms: loadMs } = await timed(() => candidate.load());
  const result = await measures[measure]({ loadMs });
  await new Promise((resolve) => process.send({ ok: true, result }, resolve));
  await Promise.race([candidate.shutdown(), sleep(5000)]);
  process.exit(0);
} catch (error) {
  await new Promise((resolve) => process.send({ ok: false, error: String(error?.message ?? error).slice(0, 600) }, resolve));
  process.exit(1);
}
