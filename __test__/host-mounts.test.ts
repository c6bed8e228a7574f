/** Directories of the host in the VM, modules from there, archives. */

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { NodeRuntime, allowAll } from "secure-exec";
import type { NodeRuntimeCreateOptions } from "secure-exec";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { make, root } from "./support.js";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "secure-exec-mounts-"));
  mkdirSync(join(folder, "shared/sub"), { recursive: true });
  writeFileSync(join(folder, "shared/a.txt"), "from the disk");
  writeFileSync(join(folder, "canary.txt"), "canary-51d9");
  symlinkSync("../canary.txt", join(folder, "shared/up"));
  symlinkSync(join(folder, "canary.txt"), join(folder, "shared/absolute"));
  symlinkSync("/etc/passwd", join(folder, "shared/passwd"));
  for (const [name, text] of [
    ["package.json", '{ "name": "dep", "version": "1.2.3", "exports": { "import": "./index.mjs", "require": "./index.cjs" } }'],
    ["index.mjs", 'export { default } from "inner"; export const where = import.meta.url;'],
    ["index.cjs", 'module.exports = { value: require("inner"), where: __filename };'],
  ] as const) {
    mkdirSync(join(folder, "project/node_modules/dep/node_modules/inner"), { recursive: true });
    writeFileSync(join(folder, "project/node_modules/dep", name), text);
  }
  writeFileSync(join(folder, "project/node_modules/dep/node_modules/inner/index.js"), "module.exports = 'inner value'");
  writeFileSync(join(folder, "project/node_modules/dep/addon.node"), "\x7fELF");
  symlinkSync("../../canary.txt", join(folder, "project/node_modules/leak.txt"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function value(options: NodeRuntimeCreateOptions, code: string, path = "/workspace/main.mjs"): Promise<unknown> {
  const runtime = await make(options);
  const program = `import fs from "node:fs"; import { createRequire } from "node:module"; const require = createRequire(import.meta.url);
    const codeOf = (f) => { try { f(); return "ok"; } catch (e) { return e.code; } };
    export default ${code};`;
  const result = await runtime.run<{ default: unknown }>(program, path);
  if (result.exports === undefined) throw new Error(`${result.errorMessage}\n${result.stderr}`);
  return result.exports.default;
}

describe("a directory of the host", () => {
  const mount = (mode: "ro" | "rw" | "cow") => ({ mounts: [{ path: "/data", source: "host" as const, hostPath: join(folder, "shared"), mode }] });
  const calls = `[fs.readFileSync("/data/a.txt", "utf8"), codeOf(() => fs.writeFileSync("/data/new.txt", "new")), codeOf(() => fs.appendFileSync("/data/a.txt", "+")), codeOf(() => fs.mkdirSync("/data/sub/d"))]`;

  test("read-only", async () => {
    expect(await value(mount("ro"), calls)).toEqual(["from the disk", "EROFS", "EROFS", "EROFS"]);
    expect(readdirSync(join(folder, "shared"))).not.toContain("new.txt");
  });

  test("copy-on-write: the host's bytes never change", async () => {
    const result = await value(mount("cow"), `[...${calls}, fs.readFileSync("/data/a.txt", "utf8"), fs.readdirSync("/data/sub")]`);
    expect(result).toEqual(["from the disk", "ok", "ok", "ok", "from the disk+", ["d"]]);
    expect(readFileSync(join(folder, "shared/a.txt"), "utf8")).toBe("from the disk");
    expect(existsSync(join(folder, "shared/new.txt"))).toBe(false);
  });

  test("read-write, seen by the host's own view too", async () => {
    const runtime = await make(mount("rw"));
    expect(await runtime.exec(`require("fs").writeFileSync("/data/written", "w")`)).toMatchObject({ code: 0 });
    expect(readFileSync(join(folder, "shared/written"), "utf8")).toBe("w");
    expect(await runtime.fs.readTextFile("/data/written")).toBe("w");
    await runtime.fs.rm("/data/written");
    expect(existsSync(join(folder, "shared/written"))).toBe(false);
  });

  test("no link leads out of it", async () => {
    const paths = ["/data/up", "/data/absolute", "/data/sub/../../canary.txt", "/data/../canary.txt", "/data/sub/../up", `${folder}/canary.txt`, "/proc/self/root/data/up"];
    for (const mode of ["ro", "rw", "cow"] as const) {
      const result = (await value(
        mount(mode),
        `[...${JSON.stringify(paths)}.map((p) => { try { return fs.readFileSync(p, "utf8"); } catch (e) { return e.code; } }), fs.readFileSync("/data/passwd", "utf8"),
          ${JSON.stringify(paths)}.map((p) => { try { fs.writeFileSync(p, "overwritten"); } catch {} }).length]`,
      )) as string[];
      expect(result.slice(0, paths.length)).not.toContain("canary-51d9");
      // A link is the guest's: it leads to the machine's own file.
      expect(result[paths.length]).toContain("sandbox:x:1000");
      expect(readFileSync(join(folder, "canary.txt"), "utf8")).toBe("canary-51d9");
    }
  });

  test("that is denied is not touched on the host", () => {
    if (spawnSync("strace", ["-V"]).status !== 0) return;
    const trace = join(folder, "trace");
    writeFileSync(join(folder, "shared/denied-canary"), "x");
    const program = `import { NodeRuntime } from ${JSON.stringify(`${root}dist/index.js`)};
      const runtime = await NodeRuntime.create({ mounts: [{ path: "/data", source: "host", hostPath: ${JSON.stringify(join(folder, "shared"))}, mode: "rw" }],
        permissions: { fs: { default: "allow", rules: [{ mode: "deny", paths: ["/data/denied-canary"] }] } } });
      const result = await runtime.exec(\`const fs = require("fs"); const p = "/data/denied-canary";
        for (const f of ["readFileSync", "statSync", "lstatSync", "accessSync", "realpathSync", "unlinkSync", "openSync", "readdirSync", "truncateSync", "rmSync"]) { try { fs[f](p); console.log(f); } catch (e) { if (e.code !== "EACCES") console.log(f, e.code); } }
        try { fs.writeFileSync(p, ""); console.log("written"); } catch {} try { fs.renameSync(p, "/data/x"); console.log("renamed"); } catch {} try { fs.copyFileSync(p, "/tmp/x"); console.log("copied"); } catch {}
        fs.readFileSync("/data/a.txt");\`);
      console.log(JSON.stringify(result.stdout)); console.log(result.stderr); process.exit(0);`;
    const child = spawnSync("strace", ["-f", "-qq", "-e", "trace=%file", "-o", trace, process.execPath, "--input-type=module", "-e", program], { encoding: "utf8", timeout: 50_000 });
    expect(child.stdout.split("\n")[0], child.stderr).toBe('""');
    const lines = readFileSync(trace, "utf8").split("\n");
    expect(lines.filter((line) => line.includes('"a.txt"')).length).toBeGreaterThan(0);
    // The program's own text names it on the command line.
    expect(lines.filter((line) => line.includes("denied-canary") && !line.includes("execve"))).toEqual([]);
  });
});

describe("moduleAccess", () => {
  const access = () => ({ moduleAccess: { cwd: join(folder, "project") } });

  test("is found from every directory, by require and import", async () => {
    for (const path of ["/workspace/main.mjs", "/tmp/deep/er/main.mjs", "/root/main.mjs", "/app/main.mjs"]) {
      const result = (await value(access(), `[(await import("dep")).default, require("dep").value, require("dep").where]`, path)) as string[];
      expect(result.slice(0, 2)).toEqual(["inner value", "inner value"]);
      expect(result[2]).toMatch(/^\/(app|root)\/node_modules\/dep\/index\.cjs$/);
    }
  });

  test("stands at both places, read-only, with nothing beyond", async () => {
    const result = await value(
      access(),
      `["/app", "/root"].map((at) => [fs.readFileSync(at + "/node_modules/dep/index.cjs", "utf8").length > 0, codeOf(() => fs.writeFileSync(at + "/node_modules/dep/x", "")),
         codeOf(() => fs.rmSync(at + "/node_modules/dep", { recursive: true })), codeOf(() => fs.readFileSync(at + "/node_modules/leak.txt"))])`,
    );
    expect(result).toEqual([[true, "EROFS", "EROFS", "ENOENT"], [true, "EROFS", "EROFS", "ENOENT"]]);
    expect(existsSync(join(folder, "project/node_modules/dep/index.cjs"))).toBe(true);
  });

  test("refuses native addons by name", async () => {
    expect(await value(access(), `codeOf(() => require("/app/node_modules/dep/addon.node"))`)).toBe("ERR_MODULE_ACCESS_NATIVE_ADDON");
  });

  test("is off unless asked for", async () => {
    for (const options of [{}, { moduleAccess: false as const }]) {
      const codes = await value(options, `[codeOf(() => require("dep")), await import("dep").catch((e) => e.code), fs.existsSync("/app/node_modules"), fs.existsSync("/node_modules")]`);
      expect(codes).toEqual(["MODULE_NOT_FOUND", "ERR_MODULE_NOT_FOUND", false, false]);
    }
  });

  test("nodeModules gives one directory", async () => {
    const result = await value({ nodeModules: join(folder, "project/node_modules") }, `[require("dep").where, (await import("dep")).default]`);
    expect(result).toEqual(["/node_modules/dep/index.cjs", "inner value"]);
    const at = { hostPath: join(folder, "project/node_modules"), guestPath: "/workspace/node_modules" };
    expect(await value({ nodeModules: at }, `require("dep").where`)).toBe("/workspace/node_modules/dep/index.cjs");
  });

  test.each([
    [{ moduleAccess: true }, "ERR_MODULE_ACCESS_INVALID_CONFIG"],
    [{ moduleAccess: { cwd: "relative" } }, "ERR_MODULE_ACCESS_INVALID_CONFIG"],
    [{ moduleAccess: { cwd: "/nonexistent-secure-exec" } }, "ERR_MODULE_ACCESS_INVALID_CONFIG"],
    [{ moduleAccess: { folder: "/" } }, "ERR_MODULE_ACCESS_INVALID_CONFIG"],
    [{ moduleAccess: { cwd: root, packageRoots: [{ hostPath: root, vmPath: "/etc" }] } }, "ERR_MODULE_ACCESS_OUT_OF_SCOPE"],
    [{ moduleAccess: { cwd: root, packageRoots: [{ hostPath: root, vmPath: "/app/node_modules/../../etc" }] } }, "ERR_MODULE_ACCESS_OUT_OF_SCOPE"],
    [{ nodeModules: "/nonexistent-secure-exec" }, "ERR_MODULE_ACCESS_INVALID_CONFIG"],
  ])("%j is refused", async (options, code) => {
    await expect(NodeRuntime.create(options as object)).rejects.toMatchObject({ code });
  });
});

describe("snapshots", () => {
  test("bring all files back, the same bytes for the same files", async () => {
    const first = await make({ files: { "/workspace/a.txt": "a", "/workspace/d/b.bin": new Uint8Array([0, 255]) } });
    await first.exec(`const fs = require("fs"); fs.symlinkSync("a.txt", "l"); fs.writeFileSync("run.sh", "#!", { mode: 0o755 }); fs.rmSync("/workspace/d/b.bin"); fs.writeFileSync("/workspace/d/c", "c");`);
    const snapshot = await first.snapshot();
    expect(Buffer.from(await first.snapshot()).equals(Buffer.from(snapshot))).toBe(true);
    const second = await make({ snapshot, files: { "/workspace/more": "m" } });
    expect(await second.fs.readdir("/workspace")).toEqual(["a.txt", "d", "l", "more", "run.sh"]);
    expect(await second.fs.readlink("/workspace/l")).toBe("a.txt");
    expect((await second.fs.stat("/workspace/run.sh")).mode & 0o777).toBe(0o755);
    expect(await second.fs.readdir("/workspace/d")).toEqual(["c"]);
    expect(await second.exec(`require("fs").writeFileSync("/workspace/a.txt", "changed")`)).toMatchObject({ code: 0 });
    expect(await first.fs.readTextFile("/workspace/a.txt")).toBe("a");
  });

  test("of a directory can be mounted", async () => {
    const first = await make({ files: { "/base/x/y": "why" } });
    const data = await first.snapshot({ path: "/base" });
    const second = await make({ mounts: [{ path: "/lib", source: "tar", data }] });
    expect(await second.fs.readTextFile("/lib/x/y")).toBe("why");
    await second.fs.writeFile("/lib/x/z", "own");
  });

  test("are bounded, and garbage is refused", async () => {
    const runtime = await make({ files: { "/big": new Uint8Array(100_000) } });
    await expect(runtime.snapshot({ maxBytes: 50_000 })).rejects.toMatchObject({ code: "ERR_INVALID_ARG_VALUE" });
    const error = await NodeRuntime.create({ snapshot: new Uint8Array(1024).fill(7) }).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(TypeError);
    expect((error as Error).message).toMatch(/snapshot is not an archive/);
  });
});

test("what guests may write to the disk is bounded, and so is the depth of their own directories", async () => {
  const hostPath = join(folder, "bounded");
  mkdirSync(hostPath);
  const mount = { path: "/disk", source: "host", hostPath, mode: "rw", maxBytes: 100, maxEntries: 2 } as const;
  const runtime = await make({ mounts: [mount], resourceBudgets: { maxDirectoryDepth: 20 } });
  expect(runtime.listMounts()).toEqual([mount]);
  const { stdout } = await runtime.exec(`const fs = require("fs"); const codes = [];
    const attempt = (f) => { try { f(); codes.push("ok"); } catch (e) { codes.push(e.code); } };
    attempt(() => fs.writeFileSync("/disk/a", "x".repeat(60)));
    attempt(() => fs.appendFileSync("/disk/a", "x".repeat(60)));
    attempt(() => fs.mkdirSync("/disk/d"));
    attempt(() => fs.mkdirSync("/disk/e"));
    attempt(() => fs.mkdirSync("/workspace" + "/n".repeat(19), { recursive: true }));
    attempt(() => fs.mkdirSync("/workspace" + "/n".repeat(20)));
    console.log(codes.join());`);
  expect(stdout).toBe("ok,ENOSPC,ok,ENOSPC,ok,ENAMETOOLONG\n");
  for (const [wrong, message] of [
    [{ ...mount, mode: "ro" }, /mode must be "rw" where maxBytes or maxEntries is given/],
    [{ ...mount, maxBytes: -1 }, /maxBytes must be an integer from 0/],
    [{ ...mount, maxEntries: "2" }, /maxEntries must be a number/],
  ] as const) {
    await expect(NodeRuntime.create({ mounts: [wrong as never] })).rejects.toThrow(message);
  }
});

test("allowAll asks nobody", async () => {
  const runtime = await make({ permissions: { ...allowAll }, env: { A: "1" } });
  expect(await runtime.exec(`require("fs").writeFileSync("/tmp/x", process.env.A)`)).toMatchObject({ code: 0 });
});
