/** `new NodeRuntime`: the API of secure-exec 0.1 and 0.2. */

import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { NodeExecutionDriver, NodeRuntime, allowAll, allowAllFs, allowAllNetwork, createDefaultNetworkAdapter, createNodeDriver, createNodeRuntimeDriverFactory } from "secure-exec";
import type { NodeDriverOptions, NodeRuntimeOptions, StdioEvent } from "secure-exec";
import { afterEach, describe, expect, test } from "vitest";

const live: NodeRuntime[] = [];
afterEach(async () => {
  await Promise.all(live.splice(0).map((runtime) => runtime.dispose()));
});

interface Made {
  runtime: NodeRuntime;
  events: StdioEvent[];
  /** What it printed, one item a console call. */
  printed: (channel?: string) => string[];
}

function make(driver: NodeDriverOptions = {}, options: Partial<NodeRuntimeOptions> = {}): Made {
  const events: StdioEvent[] = [];
  const runtime = new NodeRuntime({
    systemDriver: createNodeDriver({ moduleAccess: false, ...driver }),
    runtimeDriverFactory: createNodeRuntimeDriverFactory(),
    onStdio: (event) => events.push(event),
    ...options,
  });
  live.push(runtime);
  const printed = (channel = "stdout"): string[] => events.filter((event) => event.channel === channel).map((event) => event.message);
  return { runtime, events, printed };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

const server = (port: number): string => `
  const http = require("node:http");
  const server = http.createServer((request, response) => response.end("from " + request.url));
  server.once("error", (error) => { console.error(error.code); process.exit(3); });
  server.listen(${port}, "127.0.0.1", () => console.log("SERVER_LISTENING:" + server.address().port));
  (async () => { await new Promise(() => {}); })();`;

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 10));
}

describe("programs", () => {
  test("output comes as events, one a console call, and not with the result", async () => {
    const { runtime, printed } = make();
    const result = await runtime.exec('console.log("first"); console.log("second"); console.error("third"); process.stdout.write("fourth\\n")');
    expect(result.code).toBe(0);
    expect(result).not.toHaveProperty("stdout");
    expect(result.errorMessage).toBeUndefined();
    expect(printed()).toEqual(["first", "second", "fourth"]);
    expect(printed("stderr")).toEqual(["third"]);
  });

  test("exit codes, errors and exports", async () => {
    const { runtime } = make();
    expect((await runtime.exec("process.exit(42)")).code).toBe(42);
    expect(await runtime.exec("throw new Error('told')")).toMatchObject({ code: 1, errorMessage: "Error: told" });
    expect((await runtime.run<{ value: number }>("module.exports = { value: 7 }")).exports).toEqual({ value: 7 });
    expect((await runtime.run<{ default: number }>("export default 8", "/root/index.mjs")).exports?.default).toBe(8);
  });

  test("each program has a fresh state, files stay, and the options of exec are known", async () => {
    const { runtime, printed } = make({ permissions: allowAll, processConfig: { env: { A: "1" }, stdin: "typed" } });
    await runtime.exec("globalThis.left = 1; require('fs').writeFileSync('/root/left.txt', 'file')");
    await runtime.exec("console.log(typeof left, require('fs').readFileSync('left.txt', 'utf8'), process.cwd())", { mode: "exec" } as object);
    await runtime.exec("console.log(process.env.A, process.env.B, require('fs').readFileSync(0, 'utf8'))", { env: { B: "2" } });
    await runtime.exec("console.log(require('fs').readFileSync(0, 'utf8'))", { stdin: "other", cwd: "/tmp" });
    expect(printed()).toEqual(["undefined file /root", "1 2 typed", "other"]);
  });

  test("the time limit stops loops and promises that never settle, and the runtime goes on", async () => {
    const { runtime } = make({}, { cpuTimeLimitMs: 300, timingMitigation: "off" });
    for (const code of ["while (true) {}", "await new Promise((r) => setTimeout(r, 1e6))", "await new Promise(() => {})"]) {
      const result = await runtime.exec(code, { filePath: "/root/main.mjs" });
      expect(result.code).toBe(124);
      expect(result.errorMessage).toContain("CPU time limit exceeded");
    }
    expect((await runtime.exec("1")).code).toBe(0);
    await expect(runtime.exec("1", { cpuTimeLimitMs: NaN })).rejects.toThrow(RangeError);
  });
});

describe("NodeExecutionDriver", () => {
  test("runs programs as the runtime does", async () => {
    const driver = new NodeExecutionDriver({ system: createNodeDriver({ moduleAccess: false }), memoryLimit: 64 });
    expect((await driver.exec("process.exit(4)")).code).toBe(4);
    expect((await driver.run("module.exports = 5")).exports).toBe(5);
    await driver.terminate();
    await driver.dispose();
    await expect(driver.exec("")).rejects.toMatchObject({ code: "ERR_RUNTIME_DISPOSED" });
  });
});

describe("children", () => {
  test("the VM's own programs run on a tree that has none", async () => {
    const folder = mkdtempSync(join(tmpdir(), "secure-exec-first-"));
    mkdirSync(join(folder, "bin"));
    // What a host has there is for another machine.
    writeFileSync(join(folder, "bin/cat"), "\x7fELF", { mode: 0o755 });
    const runtime = await NodeRuntime.create({ mounts: [{ path: "/", source: "host", hostPath: folder, mode: "rw" }], cwd: "/" });
    live.push(runtime);
    const result = await runtime.exec(`
      const { execSync, execFileSync } = require("node:child_process");
      console.log(execSync("echo one > out.txt && cat out.txt | tr a-z A-Z", { encoding: "utf8" }).trim());
      console.log(execFileSync("node", ["-p", "40 + 2"], { encoding: "utf8" }).trim());
      try { execFileSync("/bin/absent"); } catch (error) { console.log(error.code); }`);
    expect(result.stdout).toBe("ONE\n42\nENOENT\n");
    expect(readFileSync(join(folder, "out.txt"), "utf8")).toBe("one\n");
    rmSync(folder, { recursive: true });
  });

  test("commands that the VM does not have go to the executor", async () => {
    const seen: unknown[] = [];
    const { runtime, printed } = make({
      permissions: allowAll,
      commandExecutor: {
        spawn(command, args, options) {
          seen.push([command, args, options?.cwd]);
          options?.onStdout?.(Buffer.from("from outside\n"));
          return { writeStdin() {}, closeStdin() {}, kill() {}, wait: () => Promise.resolve(5) };
        },
      },
    });
    await runtime.exec(`
      const child = require("node:child_process").spawn("cargo", ["build"]);
      child.stdout.on("data", (data) => console.log(String(data).trim()));
      child.on("close", (code) => console.log("code " + code));`);
    expect(printed()).toEqual(["from outside", "code 5"]);
    expect(seen).toEqual([["cargo", ["build"], "/root"]]);
  });
});

describe("permissions", () => {
  test("what has no checker is denied", async () => {
    const { runtime, printed } = make({ processConfig: { env: { SECRET: "x" } } });
    await runtime.exec(`
      const codeOf = (f) => { try { f(); return "ok"; } catch (e) { return e.code; } };
      console.log(JSON.stringify(process.env), codeOf(() => require("fs").writeFileSync("/root/a", "")), codeOf(() => require("child_process").execSync("true")));`);
    expect(printed()).toEqual(["{} EACCES EACCES"]);
  });

  test("a checker of child processes hears of all that is asked for", async () => {
    const asked: unknown[] = [];
    const childProcess = (request: { command: string; args: string[]; cwd: string; env: Record<string, string> }): { allow: boolean } => {
      asked.push({ ...request });
      return { allow: true };
    };
    const { runtime } = make({ permissions: { ...allowAllFs, childProcess } });
    await runtime.exec("require('child_process').spawnSync('node', ['-v'], { cwd: '/tmp', env: { A: '1' } })");
    expect(asked).toEqual([{ op: "spawn", command: "node", args: ["-v"], cwd: "/tmp", env: { A: "1" } }]);
  });

  test("checkers decide", async () => {
    const { runtime, printed } = make({
      permissions: { fs: ({ op, path }) => ({ allow: op !== "write" || path !== "/root/no.txt", reason: "not today" }) },
    });
    await runtime.exec(`
      require("fs").writeFileSync("/root/yes.txt", "");
      try { require("fs").writeFileSync("/root/no.txt", ""); } catch (e) { console.log(e.message); }`);
    expect(printed()).toEqual(["EACCES: permission denied, open '/root/no.txt': not today"]);
  });
});

describe("servers", () => {
  test("ports of guests are ports of the host's, for as long as they listen", async () => {
    const port = await freePort();
    const { runtime, printed } = make({ useDefaultNetwork: true, permissions: allowAllNetwork }, { cpuTimeLimitMs: 1000 });
    const running = runtime.exec(server(port));
    await until(() => printed().includes(`SERVER_LISTENING:${port}`));
    expect(await (await fetch(`http://127.0.0.1:${port}/a`)).text()).toBe("from /a");
    expect((await runtime.fetch(port, { path: "/b" })).body).toBe("from /b");
    // It owns a listener: the wall time that the limit also means does not count.
    await new Promise((resolve) => setTimeout(resolve, 1500));
    expect((await fetch(`http://127.0.0.1:${port}/c`)).status).toBe(200);
    await runtime.terminate();
    expect((await running).code).not.toBe(0);
    await expect(fetch(`http://127.0.0.1:${port}/`)).rejects.toThrow();
    const again = createServer().listen(port, "127.0.0.1");
    await once(again, "listening");
    again.close();
  });

  test("a port that the host has taken is EADDRINUSE in the guest", async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    const { runtime, printed } = make({ useDefaultNetwork: true, permissions: allowAllNetwork });
    const result = await runtime.exec(server((taken.address() as AddressInfo).port));
    taken.close();
    expect(result.code).toBe(3);
    expect(printed("stderr")).toEqual(["EADDRINUSE"]);
  });

  test("a guest may listen on a port again at once", async () => {
    const { runtime, printed } = make({ useDefaultNetwork: true, permissions: allowAllNetwork });
    const port = await freePort();
    await runtime.exec(`
      const net = require("node:net");
      let left = 20;
      (function turn() {
        const server = net.createServer().on("error", (e) => console.log(e.code)).listen(${port}, "127.0.0.1", () => server.close(() => (--left > 0 ? turn() : console.log("done"))));
      })();`);
    expect(printed()).toEqual(["done"]);
  });

  test("without a network nothing opens on the host", async () => {
    const port = await freePort();
    const { runtime, printed } = make({ permissions: allowAllNetwork });
    const running = runtime.exec(server(port));
    await until(() => printed().length > 0);
    await expect(fetch(`http://127.0.0.1:${port}/`)).rejects.toThrow();
    expect((await runtime.fetch(port)).status).toBe(200);
    await runtime.terminate();
    await running;
  });
});

describe("the network adapter", () => {
  test("the default one is the way out, for the host too", async () => {
    const port = await freePort();
    const host = createHttpServer((_request, response) => response.end("the host's")).listen(port, "127.0.0.1");
    await once(host, "listening");
    try {
      const { runtime, printed } = make({
        networkAdapter: createDefaultNetworkAdapter({ initialExemptPorts: [port] }),
        permissions: allowAllNetwork,
      });
      await runtime.exec(`fetch("http://127.0.0.1:${port}/").then((r) => r.text()).then(console.log)`);
      expect(printed()).toEqual(["the host's"]);
      expect(await runtime.network.fetch(`http://127.0.0.1:${port}/`)).toMatchObject({ ok: true, status: 200, body: "the host's" });
    } finally {
      host.close();
    }
  });

  test("one of the embedder's is asked after permissions, for the host and for guests, who have no way around it", async () => {
    const asked: string[] = [];
    const { runtime, printed } = make({
      networkAdapter: {
        fetch: async (url) => {
          asked.push(url);
          return { ok: true, status: 200, statusText: "OK", headers: {}, body: "mine", url, redirected: false };
        },
        dnsLookup: async () => ({ address: "192.0.2.1", family: 4 }),
        httpRequest: async (url) => ({ status: 204, statusText: "", headers: {}, body: "", url }),
      },
      permissions: { network: ({ hostname }) => ({ allow: hostname === "good.test" }) },
    });
    expect((await runtime.network.fetch("http://good.test/a")).body).toBe("mine");
    expect((await runtime.network.httpRequest("http://good.test/")).status).toBe(204);
    expect(await runtime.network.dnsLookup("good.test")).toEqual({ address: "192.0.2.1", family: 4 });
    await expect(runtime.network.fetch("http://bad.test/")).rejects.toMatchObject({ code: "EACCES" });
    expect(asked).toEqual(["http://good.test/a"]);
    await runtime.exec(`
      const dns = require("node:dns").promises;
      const https = require("node:https");
      (async () => {
        console.log((await dns.lookup("good.test")).address);
        console.log(await (await fetch("https://good.test/b")).text());
        https.get("https://good.test/", (response) => console.log(response.resume().statusCode));
        await fetch("http://bad.test/").catch((error) => console.log(error.cause.code));
      })();`);
    expect(printed().sort()).toEqual(["192.0.2.1", "204", "EACCES", "mine"]);
    expect(asked).toEqual(["http://good.test/a", "https://good.test/b"]);
  });
});

describe("the default network adapter", () => {
  test("can be wrapped: it then goes its own way, and nowhere else", async () => {
    const host = createHttpServer((request, response) => response.end("the host's " + request.url)).listen(0, "127.0.0.1");
    await once(host, "listening");
    try {
      const { port } = host.address() as AddressInfo;
      const free = await freePort();
      const usual = createDefaultNetworkAdapter({ initialExemptPorts: [port] });
      const seen: string[] = [];
      const { runtime, printed } = make({
        networkAdapter: {
          ...usual,
          fetch: (url, init) => {
            seen.push(url);
            return usual.fetch(url.replace("wrapped.test", "127.0.0.1"), init);
          },
          dnsLookup: async () => ({ address: "203.0.113.1", family: 4 }),
        },
        permissions: allowAllNetwork,
      });
      await runtime.exec(`
        (async () => {
          console.log(await (await fetch("http://wrapped.test:${port}/a")).text());
          await fetch("http://wrapped.test:${free}/").catch((error) => console.log(error.cause.code));
        })();`);
      expect(printed()).toEqual(["the host's /a", "ECONNREFUSED"]);
      expect(seen).toEqual([`http://wrapped.test:${port}/a`, `http://wrapped.test:${free}/`]);
      await expect(usual.fetch("http://169.254.169.254/", {})).rejects.toMatchObject({ code: "EACCES" });
      expect(await usual.dnsLookup("localhost")).toMatchObject({ family: 4 });
    } finally {
      host.close();
    }
  });
});

describe("ends", () => {
  test("terminate and dispose one after the other, and programs that never began, reject nothing", async () => {
    const { runtime } = make({ permissions: allowAllFs });
    const pending = runtime.exec("await new Promise(() => {})", { filePath: "/root/a.mjs" });
    await runtime.terminate();
    void runtime.dispose();
    void runtime.dispose();
    expect((await pending).code).not.toBe(0);
    await expect(runtime.exec("1")).rejects.toMatchObject({ code: "ERR_RUNTIME_DISPOSED" });
  });

  test("a driver is an object of parts, of which others can be made", async () => {
    const driver = createNodeDriver({ moduleAccess: false, processConfig: { env: { A: "1" } } });
    const printed: string[] = [];
    const off = createNodeDriver({ moduleAccess: undefined, permissions: allowAll });
    for (const systemDriver of [{ ...driver, permissions: allowAll }, { runtime: driver.runtime, permissions: allowAll }, off]) {
      const runtime = new NodeRuntime({ systemDriver, onStdio: ({ message }) => printed.push(message) });
      live.push(runtime);
      await runtime.exec("console.log(process.env.A, require('fs').existsSync('/app/node_modules'))");
    }
    // Host packages are a detail of the first; the second has the default.
    expect(printed).toEqual(["1 false", "1 true", "undefined false"]);
  });

  test("what is wrong is told by the constructor", () => {
    const systemDriver = createNodeDriver();
    expect(() => new NodeRuntime({} as never)).toThrow(/systemDriver/);
    expect(() => new NodeRuntime({ systemDriver, memoryLimit: -1 })).toThrow(RangeError);
    expect(() => new NodeRuntime({ systemDriver, unknown: 1 } as never)).toThrow(/unknown/);
    expect(() => createNodeDriver({ unknown: 1 } as never)).toThrow(/unknown/);
  });
});
