import { existsSync, realpathSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { make } from "./support.js";

/** Where host Node keeps npm, wherever it is installed. */
const npm = [join(dirname(realpathSync(process.execPath)), "../lib/node_modules/npm"), "/usr/lib/node_modules/npm"].find((path) =>
  existsSync(join(path, "bin/npm-cli.js")),
);

describe.skipIf(npm === undefined)("npm in the VM, mounted from the host", () => {
  test("versions, scripts, binaries of packages and a local install", { timeout: 180_000 }, async () => {
    const runtime = await make({
      memoryLimit: 512,
      cpuTimeLimitMs: 120_000,
      timingMitigation: "off",
      mounts: [{ path: "/usr/local/lib/node_modules/npm", source: "host", hostPath: npm ?? "", mode: "ro" }],
      env: { HOME: "/tmp", PATH: "/usr/local/bin:/usr/bin:/bin", npm_config_update_notifier: "false" },
      files: {
        "/workspace/tool/package.json": '{ "name": "tool", "version": "1.2.3", "bin": "cli.js" }',
        "/workspace/tool/cli.js": '#!/usr/bin/env node\nconsole.log("tool", process.argv.slice(2).join(" "));\n',
        "/workspace/app/package.json": '{ "name": "app", "version": "1.0.0", "scripts": { "x": "echo $npm_package_name && tool from script" } }',
      },
    });
    for (const name of ["npm", "npx"]) {
      await runtime.fs.symlink(`/usr/local/lib/node_modules/npm/bin/${name}-cli.js`, `/usr/local/bin/${name}`);
    }
    const result = await runtime.exec(`
      const { execSync } = require('node:child_process');
      const run = (command, cwd = '/workspace/app') => console.log(execSync(command, { cwd, encoding: 'utf8' }).trim());
      run('npm --version');
      run('npm pack --silent ../tool');
      run('npm install --offline --no-audit --no-fund --silent ./tool-1.2.3.tgz; readlink node_modules/.bin/tool');
      run('npm run --silent x');
      run('npx tool from npx');
      run('mkdir -p /tmp/new && cd /tmp/new && npm init -y > /dev/null && grep name package.json');`);
    expect(result).toMatchObject({ code: 0 });
    const lines = result.stdout?.trim().split("\n") ?? [];
    expect(lines.shift()).toMatch(/^\d+\.\d+\.\d+$/);
    expect(lines).toEqual([
      "tool-1.2.3.tgz",
      "../tool/cli.js",
      "app",
      "tool from script",
      "tool from npx",
      '"name": "new",',
    ]);
  });
});
