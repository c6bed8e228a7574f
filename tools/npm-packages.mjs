// The platform packages under npm/: filling, checking and publishing order.
//
//   node tools/npm-packages.mjs collect <triple> [library]   copy a built addon into its package
//   node tools/npm-packages.mjs version                      give all packages the root's version, and the root its
//                                                            optionalDependencies at exactly that version
//   node tools/npm-packages.mjs check [--complete]           fail on a package that is not what it should be;
//                                                            --complete: the binaries must be there
//   node tools/npm-packages.mjs list                         folders, in the order in which they are published
import { copyFileSync, existsSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../", import.meta.url));

const PLATFORMS = {
  "x86_64-unknown-linux-gnu": { name: "linux-x64-gnu", os: "linux", cpu: "x64", libc: "glibc", library: "libsecure_exec.so" },
  "aarch64-unknown-linux-gnu": { name: "linux-arm64-gnu", os: "linux", cpu: "arm64", libc: "glibc", library: "libsecure_exec.so" },
  "x86_64-apple-darwin": { name: "darwin-x64", os: "darwin", cpu: "x64", library: "libsecure_exec.dylib" },
  "aarch64-apple-darwin": { name: "darwin-arm64", os: "darwin", cpu: "arm64", library: "libsecure_exec.dylib" },
  "x86_64-pc-windows-msvc": { name: "win32-x64-msvc", os: "win32", cpu: "x64", library: "secure_exec.dll" },
};
const MAX_BINARY_BYTES = 60 * 2 ** 20;

const folder = (platform) => join(root, "npm", platform.name);
const binary = (platform) => `secure-exec.${platform.name}.node`;
const readJson = (path) => JSON.parse(readFileSync(path, "utf8"));
const writeJson = (path, value) => writeFileSync(path, `${JSON.stringify(value, null, 2)}\n`);
const rootPackage = join(root, "package.json");

function collect(triple, library) {
  const platform = PLATFORMS[triple];
  if (platform === undefined) throw new Error(`unknown target ${triple}; known: ${Object.keys(PLATFORMS).join(", ")}`);
  copyFileSync(library ?? join(root, "target", triple, "release", platform.library), join(folder(platform), binary(platform)));
  for (const name of ["LICENSE", "THIRD_PARTY_NOTICES.md"]) copyFileSync(join(root, name), join(folder(platform), name));
}

function version() {
  const main = readJson(rootPackage);
  for (const platform of Object.values(PLATFORMS)) {
    const path = join(folder(platform), "package.json");
    writeJson(path, { ...readJson(path), version: main.version });
  }
  const names = Object.values(PLATFORMS).map(({ name }) => `@secure-exec/${name}`).sort();
  const others = Object.entries(main.optionalDependencies ?? {}).filter(([name]) => !name.startsWith("@secure-exec/"));
  main.optionalDependencies = Object.fromEntries([...others, ...names.map((name) => [name, main.version])].sort());
  writeJson(rootPackage, main);
}

function check(complete) {
  const problems = [];
  const { version: wanted, engines, license } = readJson(rootPackage);
  const expected = new Set(Object.values(PLATFORMS).map(({ name }) => name));
  for (const name of readdirSync(join(root, "npm"))) if (!name.startsWith(".") && !expected.has(name)) problems.push(`npm/${name} is no known platform`);
  for (const platform of Object.values(PLATFORMS)) {
    const found = readJson(join(folder(platform), "package.json"));
    const say = (key, value) => {
      if (JSON.stringify(found[key]) !== JSON.stringify(value)) {
        problems.push(`npm/${platform.name}: ${key} is ${JSON.stringify(found[key])}, should be ${JSON.stringify(value)}`);
      }
    };
    say("name", `@secure-exec/${platform.name}`);
    say("version", wanted);
    say("license", license ?? "Apache-2.0");
    if (engines !== undefined) say("engines", engines);
    say("os", [platform.os]);
    say("cpu", [platform.cpu]);
    say("libc", platform.libc === undefined ? undefined : [platform.libc]);
    say("main", binary(platform));
    say("files", [binary(platform), "LICENSE", "THIRD_PARTY_NOTICES.md"]);
    for (const key of ["scripts", "dependencies"]) say(key, undefined);
    if (!complete) continue;
    for (const name of found.files) {
      if (!existsSync(join(folder(platform), name))) problems.push(`npm/${platform.name}: ${name} is missing`);
    }
    const path = join(folder(platform), binary(platform));
    if (existsSync(path) && statSync(path).size > MAX_BINARY_BYTES) {
      problems.push(`npm/${platform.name}: the binary has ${statSync(path).size} bytes, the budget is ${MAX_BINARY_BYTES}`);
    }
  }
  for (const problem of problems) console.error(problem);
  if (problems.length > 0) process.exitCode = 1;
}

const [command, ...rest] = process.argv.slice(2);
if (command === "collect") collect(...rest);
else if (command === "version") version();
else if (command === "check") check(rest.includes("--complete"));
else if (command === "list") for (const platform of Object.values(PLATFORMS)) console.log(`npm/${platform.name}`);
else {
  console.error("usage: node tools/npm-packages.mjs collect <triple> [library] | version | check [--complete] | list");
  process.exitCode = 2;
}
