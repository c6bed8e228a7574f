/** Servers in guests, driven by the host. */

import { once } from "node:events";
import { get } from "node:http";
import { connect as netConnect } from "node:net";
import type { Duplex } from "node:stream";
import type { GuestProcess, NodeRuntime } from "secure-exec";
import { SecureExecError } from "secure-exec";
import { describe, expect, test } from "vitest";
import { inChild, lastLine, make } from "./support.js";

const HEALTH = `
  const http = require("node:http");
  http.createServer((request, response) => {
    if (request.url === "/health") {
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify({ ok: true }));
      return;
    }
    response.setHeader("x-twice", ["a", "b"]);
    response.end("hello " + request.method + " " + request.url);
  }).listen(3000, "127.0.0.1");
`;

/** A guest whose server answers by the body of a function of `request` and `response`. */
async function serve(answer: string, runtime?: NodeRuntime): Promise<{ runtime: NodeRuntime; server: GuestProcess }> {
  const vm = runtime ?? (await make());
  const server = await vm.spawn(`
    const http = require("node:http");
    http.createServer(async (request, response) => { ${answer} }).listen(3000);
  `);
  await vm.waitForListener({ port: 3000 });
  return { runtime: vm, server };
}

async function rejection(promise: Promise<unknown>): Promise<Error & { code?: string; cause?: unknown }> {
  return promise.then(
    () => expect.unreachable("must reject"),
    (error: Error) => error,
  );
}

describe("the dev-server flow", () => {
  test.each([
    ["allowed", { network: "allow" }],
    ["limited to the VM itself", {}],
  ] as const)("spawn, wait, fetch, kill, wait, dispose: the way out is %s", async (_text, permissions) => {
    const runtime = await make({ permissions });
    const server = await runtime.spawn(HEALTH);
    expect(server.pid).toBeGreaterThan(0);
    expect(server.exitCode).toBeNull();
    const listener = await runtime.waitForListener({ port: 3000 });
    expect(listener).toEqual({ pid: server.pid, processId: server.pid, port: 3000, host: "127.0.0.1" });
    const health = await runtime.fetch(3000, { path: "/health" });
    expect(health.status).toBe(200);
    expect(health.statusText).toBe("OK");
    expect(health.ok).toBe(true);
    expect(health.headers["content-type"]).toBe("application/json");
    expect(health.body).toBe('{"ok":true}');
    expect(health.json()).toEqual({ ok: true });
    const page = await runtime.fetch(3000, { method: "GET", path: "/" });
    expect(page.text()).toBe("hello GET /");
    expect(page.headers["x-twice"]).toBe("a, b");
    expect(server.kill()).toBe(true);
    const result = await server.wait();
    expect(result.signal).toBe("SIGTERM");
    expect(result.code).toBe(143);
    expect(server.exitCode).toBe(143);
    expect(server.kill()).toBe(false);
    expect(await runtime.findListener({ port: 3000 })).toBeNull();
    await runtime.dispose();
  });

  test("a WHATWG Request", async () => {
    const { runtime } = await serve(`
      const parts = [];
      for await (const part of request) parts.push(part);
      response.end(JSON.stringify([request.method, request.url, request.headers["x-a"], Buffer.concat(parts).toString()]));
    `);
    const request = new Request("http://guest/path?query=1", { method: "POST", headers: { "X-A": "1" }, body: "body" });
    expect((await runtime.fetch(3000, request)).json()).toEqual(["POST", "/path?query=1", "1", "body"]);
  });

  test("two VMs own the same port", async () => {
    const [one, two] = await Promise.all(["one", "two"].map((name) => serve(`response.end("${name}")`)));
    expect((await one!.runtime.fetch(3000)).body).toBe("one");
    expect((await two!.runtime.fetch(3000)).body).toBe("two");
  });

  test("a hundred requests at once", async () => {
    const { runtime } = await serve(`setTimeout(() => response.end(request.url), 5)`);
    const paths = Array.from({ length: 100 }, (_, index) => `/${index}`);
    const answers = await Promise.all(paths.map((path) => runtime.fetch(3000, { path })));
    expect(answers.map((answer) => answer.body)).toEqual(paths);
  });
});

describe("bodies", () => {
  test("binary data comes back as it went", async () => {
    const { runtime } = await serve(`request.pipe(response)`);
    const bytes = new Uint8Array(300_000).map((_, index) => index * 31);
    const { headers, ...answer } = await runtime.fetch(3000, { method: "POST", body: bytes });
    expect(headers["transfer-encoding"]).toBe("chunked");
    expect(answer).toBeDefined();
    const again = await runtime.fetch(3000, { method: "PUT", body: bytes });
    expect(Buffer.compare(again.bytes(), bytes)).toBe(0);
  });

  test("streams both ways, as fast as the other side takes them", async () => {
    const { runtime } = await serve(`
      let bytes = 0;
      let others = 0;
      for await (const part of request) { bytes += part.length; for (const byte of part) if (byte !== 5) others += 1; }
      response.setHeader("x-bytes", bytes);
      response.setHeader("x-others", others);
      const block = Buffer.alloc(65536, 7);
      for (let left = 512; left > 0; left -= 1) if (!response.write(block)) await new Promise((go) => response.once("drain", go));
      response.end();
    `);
    const block = new Uint8Array(65_536).fill(5);
    let sent = 0;
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        if (sent === 512 * block.length) return controller.close();
        sent += block.length;
        controller.enqueue(block.slice());
      },
    });
    const answer = await runtime.fetch(3000, { method: "POST", body, stream: true });
    expect(answer.headers["x-bytes"]).toBe(String(512 * 65_536));
    expect(answer.headers["x-others"]).toBe("0");
    expect(() => answer.body).toThrow(/stream\(\)/);
    let received = 0;
    for await (const chunk of answer.stream()) {
      received += chunk.length;
      expect(chunk.every((byte) => byte === 7)).toBe(true);
    }
    expect(received).toBe(512 * 65_536);
  });

  test("server-sent events come one by one", async () => {
    const { runtime } = await serve(`
      response.setHeader("content-type", "text/event-stream");
      let count = 0;
      const timer = setInterval(() => response.write("data: " + ++count + "\\n\\n"), 5);
      request.on("close", () => { clearInterval(timer); console.log("closed"); });
    `);
    const answer = await runtime.fetch(3000, { path: "/events" });
    const reader = answer.stream().pipeThrough(new TextDecoderStream()).getReader();
    let seen = "";
    while (!seen.includes("data: 3")) seen += (await reader.read()).value;
    expect(seen.startsWith("data: 1\n\ndata: 2")).toBe(true);
    await reader.cancel();
  });

  test("a body longer than the budget is refused, and the VM goes on", async () => {
    const runtime = await make({ resourceBudgets: { maxHttpBodyBytes: 100_000 } });
    await serve(
      `if (request.url === "/small") return response.end("small");
       if (request.url === "/announced") response.setHeader("content-length", 1e9);
       const flood = () => { while (response.write(Buffer.alloc(65536))); };
       response.on("drain", flood); flood();`,
      runtime,
    );
    for (const path of ["/flood", "/announced"]) {
      const error = await rejection(runtime.fetch(3000, { path }));
      expect(error).toBeInstanceOf(SecureExecError);
      expect(error).toMatchObject({ code: "ERR_HTTP_BODY_TOO_LARGE", configured: 100_000 });
    }
    expect((await runtime.fetch(3000, { path: "/small" })).body).toBe("small");
  });
});

describe("raw connections", () => {
  test("an upgrade and what follows it", async () => {
    const { runtime } = await serve(`response.end()`);
    await runtime.spawn(`
      const server = require("node:http").createServer();
      server.on("upgrade", (request, socket, head) => {
        socket.write("HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: echo\\r\\nConnection: Upgrade\\r\\n\\r\\n");
        socket.write(head);
        socket.pipe(socket);
      });
      server.listen(3001);
    `);
    await runtime.waitForListener({ port: 3001 });
    const upgraded = await new Promise<Duplex>((resolve, reject) => {
      const request = get({
        createConnection: (_options, created) => {
          runtime.connect(3001).then((stream) => created(null, stream), (error: Error) => created(error, undefined as never));
          return undefined;
        },
        headers: { connection: "Upgrade", upgrade: "echo" },
      });
      request.on("upgrade", (_response, socket) => resolve(socket)).on("error", reject);
    });
    upgraded.write("over and ");
    upgraded.write("out");
    let text = "";
    for await (const chunk of upgraded.setEncoding("utf8")) {
      text += chunk;
      if (text === "over and out") break;
    }
    expect(text).toBe("over and out");
  });

  test("fetch says that upgrades are for connect", async () => {
    const runtime = await make();
    await runtime.spawn(`
      require("node:http").createServer().on("upgrade", (request, socket) => {
        socket.write("HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: x\\r\\nConnection: Upgrade\\r\\n\\r\\n");
      }).listen(3000);
    `);
    await runtime.waitForListener({ port: 3000 });
    const headers = { connection: "upgrade", upgrade: "x" };
    expect((await rejection(runtime.fetch(3000, { headers }))).code).toBe("ERR_HTTP_UPGRADED");
  });

  test("expose opens a port of the host's", async () => {
    const { runtime } = await serve(`response.end("exposed")`);
    const exposed = await runtime.expose(3000);
    expect(exposed.url).toBe(`http://127.0.0.1:${exposed.port}`);
    expect(await (await fetch(exposed.url)).text()).toBe("exposed");
    const socket = netConnect(exposed.port, "127.0.0.1");
    socket.end("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let text = "";
    for await (const chunk of socket.setEncoding("utf8")) text += chunk;
    expect(text).toMatch(/^HTTP\/1.1 200 OK\r\n[^]*exposed$/);
    await exposed.close();
    const refused = netConnect(exposed.port, "127.0.0.1");
    const [error] = (await once(refused, "error").catch((thrown: unknown) => [thrown])) as [{ code: string }];
    expect(error.code).toBe("ECONNREFUSED");
  });
});

describe("errors", () => {
  test("arguments that cannot be meant", async () => {
    const runtime = await make();
    for (const port of [70_000, 0, -1, 1.5, Number.NaN]) {
      expect(await rejection(runtime.fetch(port))).toMatchObject({ name: "RangeError", code: "ERR_SOCKET_BAD_PORT" });
      expect((await rejection(runtime.connect(port))).code).toBe("ERR_SOCKET_BAD_PORT");
    }
    const { runtime: vm } = await serve(`response.end()`);
    expect((await rejection(vm.fetch(3000, { headers: { "x-a": "1\r\nx-b: 2" } }))).code).toBe("ERR_INVALID_CHAR");
    expect((await rejection(vm.fetch(3000, { headers: { "x a": "1" } }))).code).toBe("ERR_INVALID_HTTP_TOKEN");
    expect((await rejection(vm.fetch(3000, { path: "/ HTTP/1.1\r\nx: y" }))).code).toBe("ERR_UNESCAPED_CHARACTERS");
    expect((await rejection(vm.fetch(3000, { path: "no-slash" }))).code).toBe("ERR_INVALID_ARG_VALUE");
    expect((await rejection(vm.fetch(3000, { method: "G T" }))).code).toBe("ERR_INVALID_HTTP_TOKEN");
    expect((await rejection(vm.fetch(3000, { nonsense: 1 } as never))).message).toContain("nonsense");
    expect((await vm.fetch(3000)).status).toBe(200);
  });

  test("nobody listens", async () => {
    const runtime = await make();
    const error = await rejection(runtime.fetch(3000));
    expect(error).toMatchObject({ code: "ECONNREFUSED", message: "nothing in the guest listens on port 3000" });
    expect((await rejection(runtime.connect(3000))).code).toBe("ECONNREFUSED");
  });

  test("connections have a budget", async () => {
    const runtime = await make({ resourceBudgets: { maxConnections: 2 } });
    await serve(`response.end()`, runtime);
    const streams = [await runtime.connect(3000), await runtime.connect(3000)];
    const error = await rejection(runtime.connect(3000));
    expect(error.code).toBe("ERR_RESOURCE_BUDGET_EXCEEDED");
    expect(error.message).toContain("resourceBudgets.maxConnections");
    const closed = streams.map((stream) => once(stream.destroy(), "close"));
    await Promise.all(closed);
    await expect.poll(async () => (await runtime.fetch(3000)).status).toBe(200);
  });

  test("a guest that never answers, that dies, that speaks nonsense", async () => {
    const runtime = await make();
    await runtime.spawn(`
      require("node:net").createServer((socket) => {
        socket.on("error", () => {});
        socket.on("data", (data) => {
          const path = String(data).split(" ")[1];
          if (path === "/dies") socket.end("HTTP/1.1 200 OK\\r\\nContent-Length: 10\\r\\n\\r\\nhalf");
          if (path === "/nonsense") socket.end("hello?\\r\\n\\r\\n");
          if (path === "/nothing") socket.end();
        });
      }).listen(3000);
    `);
    await runtime.waitForListener({ port: 3000 });
    expect(await rejection(runtime.fetch(3000, { path: "/never", timeoutMs: 50 }))).toMatchObject({ code: "ETIMEDOUT" });
    expect((await rejection(runtime.fetch(3000, { path: "/dies" }))).code).toBe("ECONNRESET");
    expect((await rejection(runtime.fetch(3000, { path: "/nothing" }))).code).toBe("ECONNRESET");
    expect((await rejection(runtime.fetch(3000, { path: "/nonsense" }))).code).toMatch(/^HPE_/);
    const answer = await runtime.fetch(3000, { path: "/dies", stream: true });
    expect((await rejection(new Response(answer.stream()).text())).message).toBeDefined();
    const reason = new Error("enough");
    const controller = new AbortController();
    const pending = rejection(runtime.fetch(3000, { path: "/never", signal: controller.signal }));
    controller.abort(reason);
    expect(await pending).toBe(reason);
  });

  test("a guest that ends while it answers", async () => {
    const { runtime, server } = await serve(`response.write("some"); setTimeout(() => process.exit(3), 10)`);
    expect((await rejection(runtime.fetch(3000))).code).toBe("ECONNRESET");
    expect((await server.wait()).code).toBe(3);
    expect((await rejection(runtime.fetch(3000))).code).toBe("ECONNREFUSED");
  });

  test("what waits when the runtime goes", async () => {
    const { runtime, server } = await serve(``);
    const waits = [
      runtime.fetch(3000),
      runtime.waitForListener({ port: 4000 }),
      runtime.fetch(3000, { method: "POST", body: new ReadableStream() }),
    ].map(rejection);
    const result = server.wait();
    await runtime.dispose();
    for (const wait of waits) expect((await wait).code).toBe("ERR_RUNTIME_DISPOSED");
    expect((await result).reason).toBe("disposed");
    for (const late of [runtime.fetch(3000), runtime.connect(3000), runtime.expose(3000), runtime.findListener({ port: 1 })]) {
      expect((await rejection(late)).code).toBe("ERR_RUNTIME_DISPOSED");
    }
    expect((await rejection(runtime.spawn("1"))).code).toBe("ERR_RUNTIME_DISPOSED");
  });
});

describe("waiting for a listener", () => {
  test("it may come later", async () => {
    const runtime = await make();
    const waits = runtime.waitForListener({ port: 3000 });
    await runtime.spawn(`setTimeout(() => require("node:net").createServer().listen(3000), 20)`);
    expect((await waits).port).toBe(3000);
    expect(await runtime.findListener({ port: 3000 })).toMatchObject({ port: 3000 });
    expect(await runtime.findListener({ port: 3001 })).toBeNull();
  });

  test("the guest's error comes early", async () => {
    const runtime = await make();
    const before = runtime.waitForListener({ port: 3000 });
    before.catch(() => {});
    const server = await runtime.spawn(`throw Object.assign(new TypeError("no server today"), { code: "ERR_OWN" })`);
    for (const wait of [before, runtime.waitForListener({ port: 3000 }, { timeoutMs: 60_000 })]) {
      const error = await rejection(wait);
      expect(error.code).toBe("ERR_LISTENER_EXITED");
      expect(error.message).toContain("no server today");
      expect(error.cause).toMatchObject({ name: "TypeError", message: "no server today", code: "ERR_OWN" });
    }
    expect((await server.wait()).reason).toBe("error");
  });

  test("timeouts and signals", async () => {
    const runtime = await make();
    await runtime.spawn(`setInterval(() => {}, 1000)`);
    const error = await rejection(runtime.waitForListener({ port: 3000 }, { timeoutMs: 30 }));
    expect(error).toMatchObject({ code: "ERR_LISTENER_TIMEOUT", message: "no listener on port 3000 within 30 ms" });
    const signal = AbortSignal.timeout(20);
    expect((await rejection(runtime.waitForListener({ port: 3000 }, { signal }))).name).toBe("TimeoutError");
    expect((await rejection(runtime.waitForListener({}))).code).toBe("ERR_INVALID_ARG_VALUE");
  });

  test("a local socket", async () => {
    const runtime = await make();
    await runtime.spawn(`require("node:net").createServer().listen("/tmp/own.sock")`);
    expect(await runtime.waitForListener({ path: "/tmp/own.sock" })).toMatchObject({ port: 0, path: "/tmp/own.sock" });
  });
});

describe("spawned programs", () => {
  test("standard input streams", async () => {
    const runtime = await make();
    const program = await runtime.spawn(`
      let bytes = 0;
      process.stdin.on("data", (data) => { bytes += data.length; if (bytes === 2) console.log("two"); });
      process.stdin.on("end", () => console.log(bytes));
    `);
    program.stdin.write("ab");
    const lines = program.stdout[Symbol.asyncIterator]();
    expect(Buffer.from((await lines.next()).value as Uint8Array).toString()).toBe("two\n");
    program.stdin.end(Buffer.alloc(1_000_000));
    expect(Buffer.from((await lines.next()).value as Uint8Array).toString()).toBe("1000002\n");
    expect((await lines.next()).done).toBe(true);
    expect((await program.wait()).code).toBe(0);
  });

  test("a guest that does not read its input does no harm", async () => {
    const runtime = await make();
    const program = await runtime.spawn(`setTimeout(() => {}, 20)`);
    program.stdin.write(Buffer.alloc(1_000_000));
    expect((await program.wait()).code).toBe(0);
    program.stdin.write("late");
  });

  test("hooks, iterators and results see the output", async () => {
    const runtime = await make();
    let hooked = "";
    const program = await runtime.spawn(`console.log("out"); console.error("err"); process.exitCode = 3`, {
      onStdout: (bytes) => (hooked += Buffer.from(bytes).toString()),
    });
    let errors = "";
    for await (const chunk of program.stderr) errors += Buffer.from(chunk).toString();
    expect(errors).toBe("err\n");
    expect(hooked).toBe("out\n");
    expect(await program.wait()).toMatchObject({ code: 3, reason: "exit", stdout: "out\n", stderr: "err\n" });
  });

  test("a guest waits for a slow reader", async () => {
    const runtime = await make();
    const program = await runtime.spawn(`
      const block = "x".repeat(64 * 1024);
      for (let count = 0; count < 160; count += 1) process.stdout.write(block);
      require("node:fs").writeFileSync("/tmp/done", "");
    `);
    const reader = program.stdout[Symbol.asyncIterator]();
    let bytes = (await reader.next()).value!.length;
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(program.exitCode).toBeNull();
    for (let step = await reader.next(); step.done !== true; step = await reader.next()) bytes += step.value.length;
    expect(bytes).toBe(160 * 64 * 1024);
    expect((await program.wait()).code).toBe(0);
  });

  test("a guest may catch a signal", async () => {
    const runtime = await make();
    const program = await runtime.spawn(`
      process.on("SIGTERM", () => { console.log("caught"); process.exit(7); });
      setInterval(() => {}, 1000);
      console.log("ready");
    `);
    await program.stdout[Symbol.asyncIterator]().next();
    expect(program.kill(0)).toBe(true);
    expect(program.kill("SIGWINCH")).toBe(true);
    program.kill("SIGTERM");
    expect(await program.wait()).toMatchObject({ code: 7, reason: "exit", stdout: "ready\ncaught\n" });
  });

  test("an idle server costs no CPU time", async () => {
    const { server } = await serve(`response.end()`, await make({ cpuTimeLimitMs: 1_000 }));
    await new Promise((resolve) => setTimeout(resolve, 300));
    server.kill();
    const { cpuMs, wallMs } = (await server.wait()).usage;
    expect(wallMs).toBeGreaterThan(300);
    expect(cpuMs).toBeLessThan(250);
  });

  test("signals, limits and ends", async () => {
    const runtime = await make();
    const idle = `setInterval(() => {}, 1000)`;
    const killed = await runtime.spawn(idle);
    killed.kill("SIGKILL");
    expect(await killed.wait()).toMatchObject({ code: 137, signal: "SIGKILL" });
    const controller = new AbortController();
    const aborted = await runtime.spawn(idle, { signal: controller.signal });
    controller.abort();
    expect((await aborted.wait()).reason).toBe("aborted");
    expect((await rejection(runtime.spawn(idle, { signal: controller.signal }))).name).toBe("AbortError");
    const slow = await runtime.spawn(idle, { wallTimeLimitMs: 30 });
    expect((await slow.wait()).reason).toBe("wall");
    const spins = await runtime.spawn(`for (;;);`, { cpuTimeLimitMs: 30 });
    expect((await spins.wait()).reason).toBe("cpu");
    expect(() => spins.kill("SIGNOT" as never)).toThrow(/SIGNOT/);
    const invalid = await runtime.spawn(`const x: = 1`);
    expect((await invalid.wait()).error?.name).toBe("SyntaxError");
  });

  test("the host's process ends by itself after dispose, and says nothing", async () => {
    const child = await inChild(`
      const runtime = await NodeRuntime.create();
      const server = await runtime.spawn(\`require("node:http").createServer((q, r) => r.end("x")).listen(3000)\`);
      await runtime.waitForListener({ port: 3000 });
      const exposed = await runtime.expose(3000);
      await (await fetch(exposed.url)).text();
      await runtime.fetch(3000);
      const stream = await runtime.connect(3000);
      runtime.waitForListener({ port: 1 }).catch(() => {});
      await runtime.dispose();
      console.log(JSON.stringify({ reason: (await server.wait()).reason, destroyed: stream.destroyed }));
    `);
    expect(child.stderr).toBe("");
    expect(lastLine(child)).toEqual({ reason: "disposed", destroyed: true });
  });
});
