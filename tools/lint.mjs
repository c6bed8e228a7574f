// Formatting, clippy and types.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../", import.meta.url));
let failed = false;

function check(name, command, args) {
  const { status } = spawnSync(command, args, { cwd: root, stdio: "inherit" });
  console.log(`${status === 0 ? "ok  " : "FAIL"} ${name}`);
  failed ||= status !== 0;
}

check("rustfmt", "cargo", ["fmt", "--all", "--", "--check"]);
check("clippy", "cargo", ["clippy", "--locked", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]);
for (const project of ["tsconfig.json", join("__test__", "tsconfig.json")]) {
  check(`tsc ${project}`, process.execPath, [join("node_modules", "typescript", "bin", "tsc"), "--noEmit", "-p", project]);
}
process.exitCode = failed ? 1 : 0;
