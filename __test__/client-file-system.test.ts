/** A root file system that a client wrote: with the twenty methods and no more, and left as it was. */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { NodeRuntime, allowAll, createInMemoryFileSystem, createNodeDriver } from "secure-exec";
import type { NodeDriverOptions, VirtualFileSystem } from "secure-exec";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";

const METHODS = [
  "readFile", "readTextFile", "readDir", "readDirWithTypes", "writeFile", "createDir", "mkdir", "exists", "stat", "removeFile",
  "removeDir", "rename", "symlink", "readlink", "lstat", "link", "chmod", "chown", "utimes", "truncate",
] as const;

/** What a client has: no method beyond those that are required. */
function clients(): VirtualFileSystem {
  const inner = createInMemoryFileSystem();
  return Object.fromEntries(METHODS.map((name) => [name, (inner[name] as () => unknown).bind(inner)])) as unknown as VirtualFileSystem;
}

let host: string;
const live: NodeRuntime[] = [];

beforeAll(() => {
  host = mkdtempSync(join(tmpdir(), "secure-exec-client-"));
  mkdirSync(join(host, "node_modules/pkg"), { recursive: true });
  writeFileSync(join(host, "node_modules/pkg/index.js"), "module.exports = 'of the host'");
});
afterEach(async () => {
  await Promise.all(live.splice(0).map((runtime) => runtime.dispose()));
});
afterAll(() => rmSync(host, { recursive: true }));

function make(driver: NodeDriverOptions): { runtime: NodeRuntime; printed: string[] } {
  const printed: string[] = [];
  const systemDriver = createNodeDriver({ permissions: allowAll, moduleAccess: { cwd: host }, ...driver });
  const runtime = new NodeRuntime({ systemDriver, onStdio: ({ message }) => printed.push(message) });
  live.push(runtime);
  return { runtime, printed };
}

const CODE_OF = "const fs = require('fs'); const codeOf = (f) => { try { f(); return 'ok'; } catch (e) { return e.code; } };";

describe("a client's root file system", () => {
  test("has the directories that programs need, and none of them is made before something is put there", async () => {
    const filesystem = clients();
    await filesystem.mkdir("/workspace");
    const { runtime, printed } = make({ filesystem });
    await runtime.exec("console.log(require('pkg'), process.cwd(), require('fs').readdirSync('/app'))");
    expect(await filesystem.readDir("/")).toEqual(["workspace"]);
    await runtime.exec(`${CODE_OF} fs.writeFileSync('a.txt', 'a'); console.log(fs.mkdtempSync('/tmp/t-').length, fs.readdirSync('.').sort())`);
    expect(printed).toEqual(["of the host /root [ 'node_modules' ]", "13 [ 'a.txt', 'node_modules' ]"]);
    expect((await filesystem.readDir("/")).sort()).toEqual(["root", "tmp", "workspace"]);
    expect(await filesystem.readDir("/root")).toEqual(["a.txt"]);
  });

  test("its own packages are found beside the host's, which do not change", async () => {
    const filesystem = clients();
    await filesystem.mkdir("/root/node_modules/own");
    await filesystem.writeFile("/root/node_modules/own/index.js", "module.exports = 'own'");
    await filesystem.mkdir("/node_modules/top");
    await filesystem.writeFile("/node_modules/top/index.js", "module.exports = 'top'");
    const { runtime, printed } = make({ filesystem });
    const result = await runtime.exec(`${CODE_OF}
      console.log(require('pkg'), require('own'), require('top'), fs.readdirSync('/root/node_modules'));
      console.log([
        () => fs.writeFileSync('/root/node_modules/pkg/index.js', ''),
        () => fs.writeFileSync('/root/node_modules/pkg/new.js', ''),
        () => fs.rmSync('/app/node_modules', { recursive: true }),
        () => fs.renameSync('/root', '/elsewhere'),
        () => fs.mkdirSync('/app/node_modules'),
        () => { fs.mkdirSync('/app/node_modules/new'); fs.writeFileSync('/app/node_modules/new/index.js', ''); },
      ].map(codeOf).join());`);
    expect(result.errorMessage).toBeUndefined();
    expect(printed).toEqual(["of the host own top [ 'own', 'pkg' ]", "EROFS,EROFS,EROFS,EBUSY,EEXIST,ok"]);
    expect(await filesystem.exists("/app/node_modules/new/index.js")).toBe(true);
  });

  test("without a permission for files programs run, and see nothing of it but their own directories", async () => {
    const filesystem = clients();
    await filesystem.mkdir("/root/hidden");
    const { runtime, printed } = make({ filesystem, permissions: {}, moduleAccess: false });
    expect((await runtime.exec(`${CODE_OF}
      console.log(fs.statSync('/root').isDirectory(), fs.readFileSync(__filename, 'utf8').length > 100);
      console.log([() => fs.readdirSync('/root'), () => fs.statSync('/root/hidden'), () => fs.writeFileSync('a', '')].map(codeOf).join());`)).code).toBe(0);
    expect((await runtime.exec("import fs from 'node:fs'; console.log(typeof fs)", { filePath: "/root/sub/main.mjs" })).code).toBe(0);
    expect(printed).toEqual(["true true", "EACCES,EACCES,EACCES", "object"]);
  });

  test("a program that waits for it ends when the runtime does, and one whose file system fails says so", async () => {
    const { runtime } = make({ filesystem: clients() });
    const pending = runtime.exec("1");
    void runtime.dispose();
    expect(await pending).toMatchObject({ code: 1, reason: "disposed" });
    const broken = clients();
    broken.lstat = () => Promise.reject(new Error("EIO: broken"));
    expect(await make({ filesystem: broken }).runtime.exec("1")).toMatchObject({ code: 1, reason: "error", errorMessage: expect.stringContaining("EIO") as string });
  });
});
