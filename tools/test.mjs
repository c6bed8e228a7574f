// All tests: Rust, the public API, and Node's own tests against the committed list. Run `tools/setup.mjs` before.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../", import.meta.url));
const SUITE = join(root, "..", "shared", "conformance", "node-v22.22.2-tests.tar.xz");
const UNPACKED = join(root, ".tmp", "node-v22.22.2-tests");
const EXPECTATIONS = join(root, "conformance", "expectations.json");

function run(command, args) {
  console.log(`\n> ${[command === process.execPath ? "node" : command, ...args].join(" ")}`);
  const { status } = spawnSync(command, args, { cwd: root, stdio: "inherit" });
  if (status !== 0) process.exit(status ?? 1);
}

// The addon's profile, so that what is built already serves.
const profile = process.env.SECURE_EXEC_PROFILE === "dev" ? [] : ["--release"];
run("cargo", ["test", "--locked", "--workspace", "--quiet", ...profile]);
run(process.execPath, [join("node_modules", "vitest", "vitest.mjs"), "run"]);
if (!existsSync(SUITE)) {
  console.log(`\nconformance: skipped, Node's own tests are not there (${SUITE})`);
} else if (!existsSync(EXPECTATIONS)) {
  console.log(`\nconformance: skipped, there is no list of what passes (${EXPECTATIONS})`);
} else {
  if (!existsSync(join(UNPACKED, "test", "common"))) {
    rmSync(UNPACKED, { recursive: true, force: true });
    mkdirSync(UNPACKED, { recursive: true });
    run("tar", ["-xJf", SUITE, "-C", UNPACKED]);
  }
  run(process.execPath, [join("conformance", "run.mjs"), "--suite", UNPACKED, "--check"]);
}
