// A host that runs hostile programs, one after the other, each in a VM of its own, and prints what came of each as a line
// of JSON. It dies of what kills a host, and that is what the test looks for.
//
//   node host.mjs <url of secure-exec> <program>[:first variant:end] ...
//
// A program says in its header what must happen:
//
//   // Free text: what is attacked.
//   // @outcome cpu | memory        reasons that are right; `ok` is a program that ends well and says "ok" last, and
//   //                              `any` stands for every reason but a crash and the wall clock
//   // @error <regular expression>  what the message of an `error` must match
//   // @options {"memoryLimit": 32} options of the runtime beside the default ones
//   // @within 3000                 most milliseconds that it may take
//   // @grows 600                   most MiB by which the host may grow meanwhile
//   // @run                         a module whose exports come back, not a program
//   // @only linux-x64              platforms that it is for; the others do not survive it
//   // @each <text>                 the program once for each of these, in place of EACH
//
// SECRET_FILE, SECRET_FOLDER, HOST_PID and HOST_ADDON in it stand for what the host has.
//
// A program named `.host.mjs` is the other side: a module whose default export misuses the API and throws when it is let.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const DEFAULTS = { memoryLimit: 64, cpuTimeLimitMs: 40, wallTimeLimitMs: 20_000 };
/** By how much the CPU limits are raised: more of each attack is seen, later. */
const SCALE = Number(process.env.HOSTILE_SCALE ?? 1);

const [, , api, ...files] = process.argv;
const { NodeRuntime, SecureExecError } = await import(api);

const secret = `canary-${Math.random().toString(36).slice(2)}-${process.pid}`;
const folder = mkdtempSync(join(tmpdir(), "hostile-"));
const secretFile = join(folder, "secret");
writeFileSync(secretFile, secret);
const root = fileURLToPath(new URL("../..", import.meta.url));
const addon = join(root, readdirSync(root).find((name) => name.endsWith(".node")) ?? "secure-exec.node");
process.env.HOSTILE_CANARY = secret;
globalThis.hostileCanary = secret;
const globals = Object.getOwnPropertyNames(globalThis).sort().join();

const strays = [];
process.on("unhandledRejection", (error) => strays.push(`unhandled rejection: ${String(error?.message ?? error)}`));
process.on("uncaughtException", (error) => strays.push(`uncaught exception: ${String(error?.stack ?? error)}`));

let highest = 0;
const looksAtMemory = setInterval(() => (highest = Math.max(highest, process.memoryUsage.rss())), 20);

/** Header and variants of a program. */
function read(file) {
  const text = readFileSync(file, "utf8");
  const header = { name: basename(file), outcome: [], each: [] };
  for (const line of text.split("\n")) {
    if (!line.startsWith("//")) break;
    const [, key, value] = /^\/\/ @(\w+)\s*(.*)$/.exec(line) ?? [];
    if (key === "each") header.each.push(value);
    else if (key === "outcome") header.outcome = value.split("|").map((one) => one.trim());
    else if (key === "options") header.options = JSON.parse(value);
    else if (key !== undefined) header[key] = value === "" ? true : value;
  }
  const values = { SECRET_FILE: secretFile, SECRET_FOLDER: folder, HOST_PID: String(process.pid), HOST_ADDON: addon };
  const fill = (code) => code.replace(/SECRET_FILE|SECRET_FOLDER|HOST_PID|HOST_ADDON/g, (name) => values[name]);
  const variants = header.each.length === 0 ? [["", fill(text)]] : header.each.map((each) => [each, fill(text.replace(/^(\/\/.*\n)+/, "").replaceAll("EACH", () => each))]);
  return { header, variants };
}

/** Everything that came out of the VM, as one text. */
function outOf(result) {
  const { stdout, stderr, errorMessage, error, exports } = result;
  let told = "";
  try {
    told = JSON.stringify({ error: error && { ...error, message: error.message, stack: error.stack }, exports }, (_, value) => (typeof value === "bigint" ? String(value) : value));
  } catch {}
  return [stdout, stderr, errorMessage, told].join("\n");
}

const canary = await NodeRuntime.create({ memoryLimit: 64 });

async function sing() {
  const started = performance.now();
  const { stdout, reason } = await canary.exec("console.log(1 + 1)");
  return { fine: stdout === "2\n" && reason === "exit", ms: performance.now() - started, reason };
}

/** What is wrong with the host now. */
function harm(out = "") {
  const wrong = strays.splice(0);
  if (out.includes(secret)) wrong.push("the canary got out");
  if (globalThis.hostileCanary !== secret || process.env.HOSTILE_CANARY !== secret) wrong.push("the canary was changed");
  if (readFileSync(secretFile, "utf8") !== secret) wrong.push("the canary file was changed");
  if ({}.polluted !== undefined || [].polluted !== undefined || (() => {}).polluted !== undefined) wrong.push("a prototype was changed");
  if (Object.getOwnPropertyNames(globalThis).sort().join() !== globals) wrong.push("the global object was changed");
  return wrong;
}

function judge(header, result, ms, grown) {
  const wrong = [];
  const { reason, code } = result;
  const said = (result.stdout ?? "").trimEnd().split("\n").at(-1);
  const outcome = reason === "exit" && code === 0 && said === "ok" ? "ok" : reason;
  const any = ["exit", "ok", "error", "cpu", "memory"];
  if (!header.outcome.includes(outcome) && !(header.outcome.includes("any") && any.includes(outcome))) wrong.push(`outcome ${outcome}`);
  if (outcome === "error" && header.error && !new RegExp(header.error, "u").test(result.errorMessage ?? "")) wrong.push(`message ${result.errorMessage}`);
  const codes = { cpu: 124, wall: 124, memory: 137, ok: 0 };
  if (outcome in codes && code !== codes[outcome]) wrong.push(`code ${code}`);
  const texts = { cpu: "CPU time limit exceeded", wall: "wall time limit exceeded", memory: "memory limit exceeded" };
  if (outcome in texts && !result.errorMessage?.includes(texts[outcome])) wrong.push(`message ${result.errorMessage}`);
  if (ms > Number(header.within ?? 15_000) * SCALE) wrong.push(`took ${Math.round(ms)} ms`);
  if (grown > Number(header.grows ?? 1900)) wrong.push(`grew by ${Math.round(grown)} MiB`);
  return { outcome, wrong };
}

async function all() {
  for (const [file, first, end] of files.map((one) => one.split(":"))) {
    if (file.endsWith(".host.mjs")) {
      const started = performance.now();
      let wrong = [];
      console.log(JSON.stringify({ file, begins: true }));
      try {
        const { default: test } = await import(pathToFileURL(file).href);
        await test({ NodeRuntime, SecureExecError, secret, secretFile, spawnSync, api });
      } catch (error) {
        wrong.push(String(error?.stack ?? error));
      }
      await new Promise(setImmediate);
      const after = await sing();
      if (!after.fine || after.ms > 3000) wrong.push(`canary after: ${JSON.stringify(after)}`);
      console.log(JSON.stringify({ file, each: "", outcome: "host", ms: Math.round(performance.now() - started), wrong: [...wrong, ...harm()] }));
      continue;
    }
    const { header, variants } = read(file);
    for (const [each, code] of variants.slice(Number(first ?? 0), end === undefined ? undefined : Number(end))) {
      console.log(JSON.stringify({ file, each, begins: true }));
      let line = { file, each };
      const before = process.memoryUsage.rss();
      highest = before;
      try {
        const options = { ...DEFAULTS, ...header.options };
        options.cpuTimeLimitMs *= SCALE;
        const runtime = await NodeRuntime.create(options);
        const started = performance.now();
        const running = header.run ? runtime.run(code) : runtime.exec(code, file.endsWith(".mjs") ? { filePath: "/workspace/attack.mjs" } : {});
        const beside = sing();
        const result = await running;
        const ms = performance.now() - started;
        highest = Math.max(highest, process.memoryUsage.rss());
        const { outcome, wrong } = judge(header, result, ms, (highest - before) / 2 ** 20);
        const during = await beside;
        await runtime.dispose();
        // The next one's song is the one after this.
        const after = each === variants.at(-1)[0] || wrong.length > 0 ? await sing() : during;
        for (const [when, song] of Object.entries({ during, after })) if (!song.fine || song.ms > 3000) wrong.push(`canary ${when}: ${JSON.stringify(song)}`);
        const told = wrong.length > 0 ? { message: result.errorMessage?.slice(0, 300), stdout: result.stdout?.slice(-600), stderr: result.stderr?.slice(-600) } : { message: result.errorMessage?.slice(0, 120) };
        line = { ...line, outcome, ms: Math.round(ms), grown: Math.round((highest - before) / 2 ** 20), cpu: Math.round(result.usage.cpuMs), canary: Math.round(Math.max(during.ms, after.ms)), wrong: [...wrong, ...harm(outOf(result))], ...told };
      } catch (error) {
        line = { ...line, wrong: [`the host's own: ${String(error?.stack ?? error)}`, ...harm()] };
      }
      console.log(JSON.stringify(line));
    }
  }
}

await all().catch((error) => {
  console.error(error);
  process.exit(1);
});
clearInterval(looksAtMemory);
await canary.dispose();
console.log(JSON.stringify({ end: true, wrong: harm() }));
rmSync(folder, { recursive: true });
