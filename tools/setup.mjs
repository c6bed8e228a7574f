// Makes a checkout ready: dependencies, addon, library. Does only what is not done yet, so that every script can begin
// with it.
//
//   node tools/setup.mjs [--no-native] [--example] [--vite] [--packages]
//
// SECURE_EXEC_PROFILE=dev builds the addon with cargo's dev profile.
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, lstatSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = fileURLToPath(new URL("../", import.meta.url));
const { values: options } = parseArgs({
  options: {
    "no-native": { type: "boolean", default: false },
    example: { type: "boolean", default: false },
    vite: { type: "boolean", default: false },
    packages: { type: "boolean", default: false },
  },
});

const PLATFORMS = {
  "linux x64": ["linux-x64-gnu", "libsecure_exec.so"],
  "linux arm64": ["linux-arm64-gnu", "libsecure_exec.so"],
  "darwin x64": ["darwin-x64", "libsecure_exec.dylib"],
  "darwin arm64": ["darwin-arm64", "libsecure_exec.dylib"],
  "win32 x64": ["win32-x64-msvc", "secure_exec.dll"],
};

function fail(message) {
  console.error(`setup: ${message}`);
  process.exit(1);
}

function run(command, args, folder = root) {
  const shell = process.platform === "win32";
  const { status, error } = spawnSync(command, args, { cwd: folder, stdio: "inherit", shell });
  if (error !== undefined) fail(`cannot run ${command}: ${error.message}`);
  if (status !== 0) fail(`${command} ${args.join(" ")} failed (${status})`);
}

/** Installs what a lock file says, unless that very lock file has been installed. */
function install(folder) {
  // A link leads to the modules of another checkout, which are not ours to replace.
  if (lstatSync(join(folder, "node_modules"), { throwIfNoEntry: false })?.isSymbolicLink()) return;
  const lock = readFileSync(join(folder, "package-lock.json"));
  const stamp = createHash("sha256").update(lock).digest("hex");
  const stampFile = join(folder, "node_modules", ".secure-exec-lock");
  if (existsSync(stampFile) && readFileSync(stampFile, "utf8") === stamp) return;
  run("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"], folder);
  mkdirSync(join(folder, "node_modules"), { recursive: true });
  writeFileSync(stampFile, stamp);
}

function buildAddon() {
  const here = PLATFORMS[`${process.platform} ${process.arch}`];
  if (here === undefined) fail(`there is no secure-exec for ${process.platform} ${process.arch}`);
  const [platform, library] = here;
  if (spawnSync("cargo", ["--version"], { stdio: "ignore" }).status !== 0) {
    fail("cargo is needed to build the addon; install Rust 1.95 or newer (https://rustup.rs)");
  }
  const dev = process.env.SECURE_EXEC_PROFILE === "dev";
  run("cargo", ["build", "--locked", "--quiet", "-p", "secure-exec", ...(dev ? [] : ["--release"])]);
  const target = process.env.CARGO_TARGET_DIR ?? join(root, "target");
  const built = join(target, dev ? "debug" : "release", library);
  const addon = join(root, `secure-exec.${platform}.node`);
  if (existsSync(addon) && statSync(addon).mtimeMs >= statSync(built).mtimeMs) return;
  // A running process may have the old file mapped: replace it, do not write into it.
  copyFileSync(built, `${addon}.new`);
  renameSync(`${addon}.new`, addon);
}

/** The newest change below a folder. */
function newest(folder) {
  let time = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    if (entry.isFile()) time = Math.max(time, statSync(join(entry.parentPath ?? entry.path, entry.name)).mtimeMs);
  }
  return time;
}

function buildLibrary() {
  const dist = join(root, "dist");
  const marker = join(dist, "index.js");
  const inputs = Math.max(newest(join(root, "lib")), statSync(join(root, "tsconfig.json")).mtimeMs);
  if (existsSync(marker) && statSync(marker).mtimeMs >= inputs) return;
  rmSync(dist, { recursive: true, force: true });
  run(process.execPath, [join(root, "node_modules", "typescript", "bin", "tsc"), "-p", root]);
  writeFileSync(join(dist, "cjs", "package.json"), '{ "type": "commonjs" }\n');
  // One implementation, CommonJS; the ESM entries pass its names on, so that both see the same classes.
  for (const name of ["internal", "index", "typescript", "code-mode"]) {
    writeFileSync(join(dist, `${name}.js`), `export * from "./cjs/${name}.js";\n`);
    writeFileSync(join(dist, `${name}.d.ts`), `export * from "./cjs/${name}.js";\n`);
  }
}

install(root);
if (!options["no-native"]) buildAddon();
buildLibrary();
if (options.example) install(join(root, "examples", "markdown"));
if (options.vite) install(join(root, "examples", "vite-preview"));
if (options.packages) install(join(root, "__test__", "packages"));
