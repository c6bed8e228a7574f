/** What guests may do: rules, functions of the host, and the machine's own files. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { NodeRuntime } from "secure-exec";
import type { FsRequest, NodeRuntimeCreateOptions, PermissionOptions } from "secure-exec";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { inChild, lastLine, make } from "./support.js";

/** Runs guest code and gives what it exports, or fails with what it printed. */
async function value(options: NodeRuntimeCreateOptions, code: string): Promise<unknown> {
  const runtime = await make(options);
  const result = await runtime.run<{ default: unknown }>(`${HELPERS}\nexport default ${code};`, "/workspace/main.mjs");
  if (result.exports === undefined) throw new Error(`${result.errorMessage}\n${result.stderr}`);
  return result.exports.default;
}

const HELPERS = `import fs from "node:fs";
  const attempt = (f) => { try { return f() ?? "done"; } catch (e) { return { message: e.message, code: e.code, errno: e.errno, syscall: e.syscall, path: e.path }; } };
  const attemptAsync = async (f) => { try { return (await f()) ?? "done"; } catch (e) { return { message: e.message, code: e.code, errno: e.errno, syscall: e.syscall, path: e.path }; } };
  const codeOf = (f) => { const r = attempt(f); return r?.code ?? "ok"; };`;

const FILES = { "/secret/key": "k", "/secret/public/a": "a", "/workspace/x": "x" };

describe("rules about paths", () => {
  const fs: PermissionOptions["fs"] = {
    default: "deny",
    rules: [
      { mode: "deny", paths: ["/secret/**"] },
      { mode: "allow", operations: ["read", "stat"], paths: ["/secret/public/*"] },
    ],
  };

  test("deny with Node's own error, by every style", async () => {
    const result = await value(
      { files: FILES, permissions: { fs } },
      `[
        attempt(() => fs.readFileSync("/secret/key", "utf8")),
        await attemptAsync(() => fs.promises.readFile("/secret/key")),
        await new Promise((resolve) => fs.readFile("/secret/key", (e) => resolve({ message: e.message, code: e.code, errno: e.errno, syscall: e.syscall, path: e.path }))),
      ]`,
    );
    const error = {
      message: "EACCES: permission denied, open '/secret/key': blocked by permissions.fs",
      code: "EACCES",
      errno: -13,
      syscall: "open",
      path: "/secret/key",
    };
    expect(result).toEqual([error, error, error]);
  });

  test("the last match decides, and what no rule names is the VM's own", async () => {
    const result = await value(
      { files: FILES, permissions: { fs } },
      `[
        codeOf(() => fs.readFileSync("/secret/public/a")), codeOf(() => fs.writeFileSync("/secret/public/a", "")),
        codeOf(() => fs.readdirSync("/secret")), codeOf(() => fs.writeFileSync("/workspace/y", "")), codeOf(() => fs.readdirSync("/")),
      ]`,
    );
    expect(result).toEqual(["ok", "EACCES", "EACCES", "ok", "ok"]);
  });

  test("no other way leads there", async () => {
    const result = (await value(
      { files: FILES, permissions: { fs } },
      `(() => {
        fs.symlinkSync("/secret", "/tmp/link"); fs.symlinkSync("../secret/key", "/workspace/k"); process.chdir("/tmp");
        const paths = ["/secret/key", "//secret//key", "/secret/../secret/key", "/tmp/link/key", "/workspace/k", "../secret/key",
          "/proc/self/root/secret/key", "/secret/public/../key", Buffer.from("/secret/key"), new URL("file:///secret/%6bey")];
        const calls = ["readFileSync", "statSync", "lstatSync", "accessSync", "opendirSync", "readdirSync", "realpathSync", "unlinkSync", "rmSync",
          "rmdirSync", "truncateSync", "openSync", "statfsSync"];
        const all = paths.flatMap((path) => calls.map((call) => [call, String(path), codeOf(() => fs[call](path))]));
        const twice = [["renameSync", "/workspace/n"], ["copyFileSync", "/workspace/n"], ["linkSync", "/workspace/n"]]
          .map(([call, to]) => [call, "", codeOf(() => fs[call]("/secret/key", to))]);
        const into = ["renameSync", "copyFileSync", "linkSync", "symlinkSync"].map((call) => [call, "into", codeOf(() => fs[call]("/workspace/x", "/secret/n"))]);
        const other = [["chmodSync", 0o600], ["chownSync", 1, 1], ["utimesSync", 1, 1], ["mkdirSync"], ["writeFileSync", ""], ["appendFileSync", ""]]
          .map(([call, ...args]) => [call, "", codeOf(() => fs[call]("/secret/key", ...args))]);
        return [...all, ...twice, ...into, ...other].concat([["exists", "", String(fs.existsSync("/secret/key"))], ["realpath.native", "", codeOf(() => fs.realpathSync.native("/secret/key"))]]);
      })()`,
    )) as [string, string, string][];
    const open = result.filter(([call, path, code]) => {
      // A link outside is its own entry: looking at it or taking it away does not touch where it leads.
      const isLinkItself = path === "/workspace/k" && ["lstatSync", "unlinkSync", "rmSync", "rmdirSync"].includes(call);
      const isGone = path === "/workspace/k" && code === "ENOENT";
      return code !== "EACCES" && code !== "false" && !isLinkItself && !isGone;
    });
    expect(open).toEqual([]);
  });

  test("denied can look like absent", async () => {
    const result = await value(
      { files: FILES, permissions: { fs: { ...(fs as object), deniedAs: "ENOENT" } } },
      `[attempt(() => fs.readFileSync("/secret/key")), attempt(() => fs.readFileSync("/secret/nothing"))]`,
    );
    const absent = (path: string) => ({
      message: `ENOENT: no such file or directory, open '${path}'`,
      code: "ENOENT",
      errno: -2,
      syscall: "open",
      path,
    });
    expect(result).toEqual([absent("/secret/key"), absent("/secret/nothing")]);
  });

  test.each([
    [{ fs: "maybe" }, /permissions\.fs must be "allow", "deny"/],
    [{ filesystem: "allow" }, /permissions\.filesystem is not an option; known are fs/],
    [{ fs: { rules: [{ mode: "ask" }] } }, /permissions\.fs\.rules\[0\]\.mode must be "allow" or "deny"/],
    [{ fs: { rules: [{ mode: "allow", operations: ["eat"] }] } }, /permissions\.fs\.rules\[0\]\.operations\[0\] is not an operation/],
    [{ fs: { rules: [{ mode: "allow", paths: ["/a["] }] } }, /permissions\.fs\.rules\[0\].* is not a glob/],
    [{ fs: { rules: [{ mode: "allow", paths: ["a/*"] }] } }, /must be an absolute path, got "a\/\*"/],
    [{ fs: { rules: [{ mode: "allow", hosts: ["a"] }] } }, /permissions\.fs\.rules\[0\]\.hosts is not an option/],
    [{ network: { rules: [{ mode: "allow", ports: [70_000] }] } }, /permissions\.network\.rules\[0\]\.ports\[0\] must be a port/],
    [{ env: { deniedAs: "ENOENT" } }, /permissions\.env\.deniedAs/],
    [{ hostFunction: "allow", binding: "allow" }, /permissions\.binding is the same as permissions\.hostFunction/],
    ["allow", /permissions must be an object/],
  ])("%j is refused", async (permissions, message) => {
    const error = await NodeRuntime.create({ permissions } as object).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(TypeError);
    expect((error as Error).message).toMatch(message);
  });
});

describe("functions", () => {
  test("see every request, and their reason reaches the guest", async () => {
    const asked: FsRequest[] = [];
    const result = await value(
      {
        files: FILES,
        permissions: {
          fs: async (request) => {
            asked.push(request);
            await new Promise((resolve) => setTimeout(resolve, 2));
            return request.path === "/secret/key" ? { allow: false, reason: "ask Anna" } : true;
          },
        },
      },
      `[attempt(() => fs.readFileSync("/secret/key")), attempt(() => fs.readFileSync("/tmp/../workspace/x", "utf8")), codeOf(() => fs.rmSync("/workspace/x"))]`,
    );
    expect(result).toEqual([
      { message: "EACCES: permission denied, open '/secret/key': ask Anna", code: "EACCES", errno: -13, syscall: "open", path: "/secret/key" },
      "x",
      "ok",
    ]);
    expect(asked).toContainEqual({ op: "read", path: "/secret/key" });
    expect(asked).toContainEqual({ op: "read", path: "/workspace/x" });
    expect(asked).toContainEqual({ op: "rm", path: "/workspace/x" });
  });

  test.each([
    ["throws", () => { throw new Error("no"); }, "the permission callback failed"],
    ["rejects", async () => { throw new Error("no"); }, "the permission callback failed"],
    ["answers nonsense", () => "yes" as unknown as boolean, "blocked by permissions.fs"],
    ["answers nothing", () => undefined as unknown as boolean, "blocked by permissions.fs"],
    ["answers a truthy allow", () => ({ allow: 1 }) as unknown as boolean, "blocked by permissions.fs"],
    ["throws when looked at", () => ({ get allow() { throw new Error("no"); } }) as unknown as boolean, "the permission callback failed"],
    ["never answers", () => new Promise<boolean>(() => {}), "the permission callback took too long"],
  ])("one that %s denies", async (_, answer, reason) => {
    const result = await value(
      { files: FILES, permissionTimeoutMs: 200, permissions: { fs: (r) => (r.path === "/secret/key" ? answer() : true) } },
      `attempt(() => fs.readFileSync("/secret/key"))`,
    );
    expect(result).toMatchObject({ code: "EACCES", message: `EACCES: permission denied, open '/secret/key': ${reason}` });
  });

  test("only the call that asked waits: another program goes on", async () => {
    let release = (_: boolean): void => {};
    const waits = new Promise<boolean>((resolve) => (release = resolve));
    const runtime = await make({ files: FILES, permissions: { fs: (r) => (r.path === "/secret/key" ? waits : true) } });
    const slow = runtime.exec(`require("fs").readFileSync("/secret/key")`);
    expect(await runtime.exec(`require("fs").readFileSync("/workspace/x")`)).toMatchObject({ code: 0 });
    release(true);
    expect(await slow).toMatchObject({ code: 0 });
  });

  test.each([
    ["the wall limit", {}, { wallTimeLimitMs: 300 }, "wall"],
    ["terminate", { terminate: true }, {}, "aborted"],
    ["dispose", { dispose: true }, {}, "disposed"],
  ])("a guest that waits ends with %s", async (_, how: { terminate?: boolean; dispose?: boolean }, limits, reason) => {
    const asked = { at: 0 };
    const runtime = await make({
      permissions: { fs: (r) => (r.path === "/x" ? ((asked.at = Date.now()), new Promise<boolean>(() => {})) : true) },
      ...limits,
    });
    const running = runtime.exec(`require("fs").existsSync("/x")`);
    while (asked.at === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    if (how.terminate) await runtime.terminate();
    if (how.dispose) await runtime.dispose();
    const result = await running;
    expect(result.reason).toBe(reason);
    expect(result.usage.cpuMs).toBeLessThan(2000);
  });

  test("what goes wrong in them is no unhandled rejection", async () => {
    const child = await inChild(`
      process.on("unhandledRejection", () => { console.log("unhandled"); process.exit(3); });
      const runtime = await NodeRuntime.create({ permissions: { fs: async () => { throw new Error("no"); } }, hostFunctions: { f: async () => { throw null; } } });
      const result = await runtime.exec('try { require("fs").readFileSync("/tmp/x") } catch (e) { console.log(e.code) } callHostFunction("f").catch((e) => console.log(e.message))');
      const late = runtime.exec('callHostFunction("g")');
      runtime.registerHostFunctions({ g: () => new Promise((_, reject) => setTimeout(reject, 200)) });
      const pending = runtime.exec('callHostFunction("g")');
      await sleep(50);
      await runtime.dispose();
      await sleep(300);
      console.log(JSON.stringify({ out: result.stdout, pending: (await pending).reason }));`);
    expect(lastLine(child)).toEqual({ out: "EACCES\nnull\n", pending: "disposed" });
  });
});

describe("variables", () => {
  const env = { PUBLIC_A: "1", PUBLIC_B: "2", TOKEN: "t" };
  const names = "Object.keys(process.env).sort()";

  test("are those of the option, and nothing of the host", async () => {
    expect(await value({ env }, names)).toEqual(["PUBLIC_A", "PUBLIC_B", "TOKEN"]);
    expect(await value({}, names)).toEqual([]);
  });

  test("are filtered by the scope", async () => {
    expect(await value({ env, permissions: { env: "deny" } }, names)).toEqual([]);
    const rules = [{ mode: "allow" as const, patterns: ["PUBLIC_*"] }];
    expect(await value({ env, permissions: { env: { rules } } }, names)).toEqual(["PUBLIC_A", "PUBLIC_B"]);
    expect(await value({ env, permissions: { env: ({ key, value }) => key === "TOKEN" && value === "t" } }, names)).toEqual(["TOKEN"]);
  });

  test("that the guest sets are its own", async () => {
    const result = await value({ permissions: { env: "deny" } }, `(process.env.A = "1", process.env.A)`);
    expect(result).toBe("1");
  });
});

describe("the host's disk", () => {
  let folder = "";
  let canary = "";
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "secure-exec-canary-"));
    canary = join(folder, "canary.txt");
    writeFileSync(canary, "canary-7c1f");
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test("is out of reach by every form of path", async () => {
    const runtime = await make({ permissions: { fs: "allow" } });
    const result = await runtime.run<{ default: [string, string, string][] }>(
      `import fs from "node:fs";
       const canary = ${JSON.stringify(canary)};
       const roots = [canary, "/etc/passwd", "/proc/self/environ", "/proc/self/maps", "/proc/self/mem", "/proc/1/environ", "/proc/self/exe", "/proc/self/cwd/x", "/sys/kernel", "/root/.ssh"];
       const forms = (p) => [p, "." + p, ".." + p, "../../../../../../.." + p, "//" + p, "/." + p, "/workspace/.." + p, "/proc/self/root" + p, "/proc/self/cwd/../.." + p,
         "/dev/fd/../../.." + p, p + "/", p + "/.", p.replaceAll("/", "\\\\"), "file://" + p, encodeURIComponent(p), "C:" + p, "\\\\\\\\?\\\\" + p, p + "\\u0000.txt", Buffer.from(p), new URL("file://" + p), new Uint8Array(Buffer.from(p))];
       const found = [];
       for (const root of roots) for (const path of forms(root)) {
         try { found.push([root, String(path), fs.readFileSync(path, "latin1")]); } catch {}
         try { fs.writeFileSync(path, "overwritten"); } catch {}
         try { fs.appendFileSync(path, "appended"); } catch {}
         try { fs.renameSync(path, "/tmp/taken"); } catch {}
         try { fs.rmSync(path, { recursive: true }); } catch {}
       }
       export default found;`,
      "/workspace/main.mjs",
    );
    const found = result.exports?.default ?? [];
    const host = [readFileSync("/etc/passwd", "latin1"), readFileSync("/proc/self/environ", "latin1")];
    for (const [root, path, text] of found) {
      expect(text, path).not.toContain("canary-7c1f");
      expect(host, `${root} by ${path}`).not.toContain(text);
      expect(text).not.toContain(process.env["PATH"] ?? "no PATH");
    }
    expect(found.length).toBeGreaterThan(0);
    expect(readFileSync(canary, "utf8")).toBe("canary-7c1f");
  });

  test("no module comes from there", async () => {
    const runtime = await make();
    const result = await runtime.run<{ default: string[] }>(
      `const tries = [${JSON.stringify(canary)}, "file://" + ${JSON.stringify(canary)}, "/usr/lib/node_modules/npm/package.json", "vitest"];
       const codes = [];
       for (const t of tries) codes.push(await import(t).then(() => "loaded", (e) => e.code));
       export default codes;`,
      "/workspace/main.mjs",
    );
    expect(result.exports?.default).toEqual(Array(4).fill("ERR_MODULE_NOT_FOUND"));
  });
});

describe("the machine", () => {
  test("says what the options say", async () => {
    const result = await value(
      {
        os: { hostname: "box", type: "Linux", release: "9.9", cpuCount: 3, cpuModel: "Abacus", totalMemory: 5000, freeMemory: 400 },
        user: { username: "anna", uid: 501, gid: 20, homedir: "/home/anna", shell: "/bin/none" },
      },
      `(await import("node:os").then((os) => ({ host: os.hostname(), release: os.release(), cpus: os.cpus().map((c) => c.model), total: os.totalmem(), free: os.freemem(),
          user: os.userInfo(), home: os.homedir(), uid: process.getuid(), passwd: fs.readFileSync("/etc/passwd", "utf8").includes("anna:x:501:20"), exists: fs.existsSync("/home/anna") })))`,
    );
    expect(result).toEqual({
      host: "box",
      release: "9.9",
      cpus: ["Abacus", "Abacus", "Abacus"],
      total: 5000,
      free: 400,
      user: { username: "anna", uid: 501, gid: 20, homedir: "/home/anna", shell: "/bin/none" },
      home: "/home/anna",
      uid: 501,
      passwd: true,
      exists: true,
    });
  });

  test.each([
    [{ os: { hostname: "a:b" } }, TypeError, /os\.hostname/],
    [{ os: { cpuCount: 0 } }, RangeError, /os\.cpuCount/],
    [{ os: { cats: 1 } }, TypeError, /os\.cats is not an option/],
    [{ user: { username: "a\nb" } }, TypeError, /user\.username/],
    [{ user: { homedir: "home" } }, TypeError, /user\.homedir must be an absolute path/],
    [{ user: { uid: -1 } }, RangeError, /user\.uid/],
    [{ onLimitWarning: 1 }, TypeError, /onLimitWarning must be a function/],
  ])("%j is refused", async (options, type, message) => {
    const error = await NodeRuntime.create(options as object).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(type);
    expect((error as Error).message).toMatch(message);
  });
});

describe("limits that are nearly reached", () => {
  test.each([
    ["cpuTimeLimitMs", { cpuTimeLimitMs: 500 }, `for (const end = Date.now(); ;) ;`],
    ["wallTimeLimitMs", { wallTimeLimitMs: 300 }, `setInterval(() => {}, 10)`],
    ["memoryLimit", { memoryLimit: 64 }, `const a = []; for (;;) a.push(new Uint8Array(1 << 20).fill(1))`],
    ["maxOutputBytes", { resourceBudgets: { maxOutputBytes: 1000 } }, `console.log("x".repeat(850))`],
    ["maxBridgeCalls", { resourceBudgets: { maxBridgeCalls: 10 } }, `for (let i = 0; i < 9; i++) callHostFunction("f")`],
    ["maxFilesystemBytes", { resourceBudgets: { maxFilesystemBytes: 10_000 } }, `for (let i = 0; i < 9; i++) require("fs").writeFileSync("/tmp/" + i, "x".repeat(1000))`],
    ["maxInodes", { resourceBudgets: { maxInodes: 20 } }, `for (let i = 0; i < 18; i++) require("fs").mkdirSync("/tmp/" + i)`],
    ["maxTimers", { resourceBudgets: { maxTimers: 10 } }, `for (let i = 0; i < 9; i++) setTimeout(() => {}, 1)`],
  ])("%s", async (limit, options, code) => {
    const warnings: { limit: string; used: number; max: number }[] = [];
    const runtime = await make({ ...options, hostFunctions: { f: () => 1 }, onLimitWarning: (warning) => warnings.push(warning) });
    await runtime.exec(code);
    await new Promise((resolve) => setTimeout(resolve, 20));
    const about = warnings.filter((warning) => warning.limit === limit);
    expect(about).toHaveLength(1);
    for (const { used, max } of about) expect(used / max).toBeGreaterThanOrEqual(0.8);
  });
});
