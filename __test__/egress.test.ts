/** Ways out of a VM: what policy lets through, and what then passes. */

import { createSocket } from "node:dgram";
import { once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import type { RequestListener } from "node:http";
import { createServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";
import { networkInterfaces } from "node:os";
import type { ExecResult, NetworkRequest, NodeRuntime } from "secure-exec";
import { afterEach, describe, expect, test } from "vitest";
import { startNameServer } from "./name-server.js";
import { make } from "./support.js";

const closing: (() => void)[] = [];

afterEach(() => {
  for (const close of closing.splice(0)) close();
});

/** A server of the host's, on its loopback unless told otherwise. */
async function listen(server: Server, host = "127.0.0.1"): Promise<number> {
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("error", () => {}).on("close", () => sockets.delete(socket));
  });
  server.listen(0, host);
  await once(server, "listening");
  closing.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

const onTcp = (each: (socket: Socket) => void, host?: string): Promise<number> => listen(createServer({ allowHalfOpen: true }, each), host);
const onHttp = (each: RequestListener): Promise<number> => listen(createHttpServer(each));

/** An address of this machine that is not its loopback. */
const own = Object.values(networkInterfaces())
  .flatMap((list) => list ?? [])
  .find((one) => !one.internal && one.family === "IPv4")?.address;

const text = (result: ExecResult): string => {
  expect(result.stderr).toBe("");
  return result.stdout ?? "";
};

/** Connects to each and prints what became of it. */
const TRY_ALL = `
  const net = require("node:net");
  const tryOne = ([host, port]) => new Promise((resolve) => {
    const socket = net.connect({ host, port }, () => { resolve("connected"); socket.destroy(); });
    socket.on("error", (error) => resolve(error.code));
  });
  (async () => {
    for (const target of JSON.parse(process.argv[2])) console.log(target[0], await tryOne(target));
  })();
`;

async function tryAll(runtime: NodeRuntime, targets: [string, number][]): Promise<Record<string, string>> {
  const result = await runtime.exec(TRY_ALL, { argv: [JSON.stringify(targets)] });
  return Object.fromEntries(
    text(result)
      .trimEnd()
      .split("\n")
      .map((line) => line.split(" ") as [string, string]),
  );
}

/** Addresses that are not of the public internet, in the forms that guards have missed. */
const NOT_PUBLIC = [
  "10.0.0.1",
  "172.16.0.1",
  "192.168.0.1",
  "100.64.0.1",
  "100.100.100.200",
  "169.254.169.254",
  "192.0.0.1",
  "192.0.2.1",
  "198.18.0.1",
  "224.0.0.1",
  "240.0.0.1",
  "255.255.255.255",
  "::ffff:169.254.169.254",
  "::ffff:a9fe:a9fe",
  "::ffff:10.0.0.1",
  "::127.0.0.1",
  "::a00:1",
  "64:ff9b::a9fe:a9fe",
  "64:ff9b:1::7f00:1",
  "2002:7f00:1::",
  "2001::1",
  "fd00:ec2::254",
  "fc00::1",
  "fe80::1",
  "fe80::1%lo",
  "fe90::1",
  "fec0::1",
  "ff02::1",
];

describe("what policy refuses", () => {
  test("everything, when nothing is said", async () => {
    let connections = 0;
    const port = await onTcp((socket) => {
      connections += 1;
      socket.destroy();
    });
    const runtime = await make();
    const targets: [string, number][] = [...NOT_PUBLIC, "8.8.8.8", "2606:4700::1111"].map((host) => [host, port]);
    const found = await tryAll(runtime, targets);
    for (const [host] of targets) expect(found[host], host).toBe("EACCES");
    // The guest's loopback is its own: nobody listens there.
    expect(await tryAll(runtime, [["127.0.0.1", port], ["::ffff:7f00:1", port]])).toEqual({
      "127.0.0.1": "ECONNREFUSED",
      "::ffff:7f00:1": "ECONNREFUSED",
    });
    const lookups = await runtime.exec(`
      const dns = require("node:dns");
      dns.lookup("example.com", (error) => console.log(error.code));
      dns.resolve4("example.com", (error) => console.log(error.code));
      fetch("http://example.com/").catch((error) => console.log(error.cause.code));
    `);
    expect(text(lookups).trimEnd().split("\n").sort()).toEqual(["EACCES", "EACCES", "ECONNREFUSED"]);
    expect(connections).toBe(0);
  });

  test.each([
    ["allow", "allow"],
    ["rules that name nothing", { rules: [{ mode: "allow", hosts: ["*", "**", "0.0.0.0/0", "::/0"] }] }],
    ["a function", () => true],
  ] as const)("what is not of the public internet, with %s", async (_text, network) => {
    const runtime = await make({ permissions: { network: network as "allow" } });
    const found = await tryAll(runtime, NOT_PUBLIC.map((host) => [host, 9]));
    for (const host of NOT_PUBLIC) expect(found[host], host).toBe("EACCES");
    if (own !== undefined) {
      const port = await onTcp((socket) => socket.end(), own);
      expect(await tryAll(runtime, [[own, port]])).toEqual({ [own]: "EACCES" });
    }
  });

  test("URLs that mean such an address", async () => {
    const runtime = await make({ permissions: { network: "allow" } });
    const urls = [
      "http://2852039166/",
      "http://0xa9fea9fe/",
      "http://0251.0376.0251.0376/",
      "http://169.254.43518/",
      "http://[::ffff:169.254.169.254]/",
      "http://①⑥⑨.②⑤④.①⑥⑨.②⑤④/",
      "http:\\\\\\\\169.254.169.254",
    ];
    const result = await runtime.exec(
      `(async () => { for (const url of JSON.parse(process.argv[2])) await fetch(url).then(() => console.log("got"), (error) => console.log(error.cause.code)); })()`,
      { argv: [JSON.stringify(urls)] },
    );
    expect(text(result)).toBe("EACCES\n".repeat(urls.length));
  });

  test("a redirect to such an address", async () => {
    const port = await onHttp((_request, response) => {
      response.writeHead(302, { location: "http://169.254.169.254/latest" }).end();
    });
    const runtime = await make({ permissions: { network: "allow" }, loopbackExemptPorts: [port] });
    const result = await runtime.exec(
      `fetch("http://127.0.0.1:${port}/").catch((error) => console.log(error.cause.code, error.cause.address))`,
    );
    expect(text(result)).toBe("EACCES 169.254.169.254\n");
  });

  test("a local socket and a variable of the host lead nowhere", async () => {
    const runtime = await make({ permissions: { network: "allow" }, env: { http_proxy: "http://127.0.0.1:9", HTTPS_PROXY: "http://127.0.0.1:9" } });
    const result = await runtime.exec(`
      require("node:net").connect("/var/run/docker.sock").on("error", (error) => console.log(error.code));
      require("node:net").connect("\\0abstract").on("error", (error) => console.log(error.code));
    `);
    expect(text(result).trimEnd().split("\n").sort()).toEqual(["ECONNREFUSED", "ENOENT"]);
  });
});

describe("what policy lets through", () => {
  test("a port that does not exist is refused when the runtime is made", async () => {
    await expect(make({ loopbackExemptPorts: [70_000] })).rejects.toMatchObject({ name: "RangeError", code: "ERR_SOCKET_BAD_PORT" });
  });

  test("ports of the host's loopback that were exempted, and no others", async () => {
    const open = await onTcp((socket) => socket.end());
    const closed = await onTcp((socket) => socket.end());
    const runtime = await make({ loopbackExemptPorts: [open] });
    expect(await tryAll(runtime, [["127.0.0.1", open]])).toEqual({ "127.0.0.1": "connected" });
    expect(await tryAll(runtime, [["127.0.0.1", closed]])).toEqual({ "127.0.0.1": "ECONNREFUSED" });
    expect(await tryAll(runtime, [["::ffff:127.0.0.1", open]])).toEqual({ "::ffff:127.0.0.1": "connected" });
    const denied = await make({ loopbackExemptPorts: [open], permissions: { network: "deny" } });
    expect(await tryAll(denied, [["127.0.0.1", open]])).toEqual({ "127.0.0.1": "EACCES" });
    const ruled = await make({
      loopbackExemptPorts: [open],
      permissions: { network: { rules: [{ mode: "deny", hosts: ["127.0.0.1"], ports: [open] }] } },
    });
    expect(await tryAll(ruled, [["127.0.0.1", open]])).toEqual({ "127.0.0.1": "EACCES" });
  });

  test("what the VM itself opened is its own", async () => {
    const port = await onTcp((socket) => socket.end("the host's"));
    const runtime = await make({ loopbackExemptPorts: [port], permissions: { network: "allow" } });
    const result = await runtime.exec(`
      const net = require("node:net");
      const ask = () => new Promise((resolve) => net.connect(${port}, "127.0.0.1").on("data", (data) => resolve(String(data))));
      (async () => {
        console.log(await ask());
        const server = net.createServer((socket) => socket.end("the guest's")).listen(${port}, "127.0.0.1", async () => {
          console.log(await ask());
          server.close(async () => console.log(await ask()));
        });
      })();
    `);
    expect(text(result)).toBe("the host's\nthe guest's\nthe host's\n");
  });

  test.skipIf(own === undefined)("addresses, blocks and pinned names that a rule names", async () => {
    const host = own as string;
    const port = await onTcp((socket) => socket.end(), host);
    const reach = async (rule: object, target: string, dns?: object): Promise<string | undefined> => {
      const network = { rules: [{ mode: "allow" as const, ...rule }] };
      const runtime = await make({ permissions: { network }, ...(dns === undefined ? {} : { dns }) });
      return (await tryAll(runtime, [[target, port]]))[target];
    };
    const overrides = { "db.test": [host] };
    expect(await reach({ hosts: [host] }, host)).toBe("connected");
    expect(await reach({ hosts: [`${host}/24`], ports: [port] }, host)).toBe("connected");
    expect(await reach({ patterns: [`tcp://${host}:${port}`] }, `::ffff:${host}`)).toBe("connected");
    expect(await reach({ hosts: ["db.test"] }, "db.test", { overrides })).toBe("connected");
    expect(await reach({ hosts: [host] }, "db.test", { overrides })).toBe("connected");
    expect(await reach({ hosts: ["*.test"] }, "db.test", { overrides })).toBe("EACCES");
    expect(await reach({ hosts: ["other.test"] }, "db.test", { overrides })).toBe("EACCES");
    expect(await reach({ hosts: [host], ports: [1] }, host)).toBe("EACCES");
  });

  test("a function is asked about each step with all fields, and only the guest that asked waits", async () => {
    const port = await onTcp((socket) => socket.end());
    const asked: NetworkRequest[] = [];
    let answer: (value: { allow: boolean }) => void = () => {};
    const runtime = await make({
      loopbackExemptPorts: [port],
      permissions: {
        network: (request) => {
          asked.push(request);
          if (request.op === "dns") return { allow: false, reason: "no names" };
          return new Promise((resolve) => (answer = resolve));
        },
      },
    });
    const waiting = runtime.exec(`
      const net = require("node:net");
      require("node:dns").lookup("example.com", (error) => {
        console.log(error.code);
        net.connect(${port}, "127.0.0.1", function () { console.log("connected"); this.destroy(); });
      });
    `);
    await expect.poll(() => asked.length).toBe(2);
    expect((await runtime.exec("console.log('free')")).stdout).toBe("free\n");
    answer({ allow: true });
    expect(text(await waiting)).toBe("EACCES\nconnected\n");
    expect(asked).toMatchObject([
      { op: "dns", hostname: "example.com", port: 0, internal: false },
      { op: "connect", hostname: "127.0.0.1", port, address: "127.0.0.1", internal: false },
    ]);
  });

  test.skipIf(own === undefined)("a function reaches a private address only if it says so", async () => {
    const host = own as string;
    const port = await onTcp((socket) => socket.end(), host);
    const runtime = await make({ permissions: { network: () => ({ allow: true, private: true }) } });
    expect(await tryAll(runtime, [[host, port]])).toEqual({ [host]: "connected" });
  });
});

describe("connections", () => {
  test("errors are the network's", async () => {
    const reset = await onTcp((socket) => socket.once("data", () => socket.resetAndDestroy()));
    const runtime = await make({ loopbackExemptPorts: [1, reset], permissions: { network: "allow" } });
    expect(await tryAll(runtime, [["127.0.0.1", 1]])).toEqual({ "127.0.0.1": "ECONNREFUSED" });
    const result = await runtime.exec(`
      const net = require("node:net");
      const socket = net.connect(${reset}, "127.0.0.1", () => socket.write("x"));
      socket.on("error", (error) => console.log(error.syscall, error.code)).on("close", (had) => console.log(had));
      socket.resume();
    `);
    expect(text(result)).toBe("read ECONNRESET\ntrue\n");
  });

  test("addresses of the host are not shown", async () => {
    const port = await onTcp((socket) => socket.end());
    const runtime = await make({ loopbackExemptPorts: [port] });
    const result = await runtime.exec(`
      const socket = require("node:net").connect(${port}, "127.0.0.1", () => {
        console.log(socket.localAddress, socket.remoteAddress, socket.remotePort === ${port});
        socket.destroy();
      });
    `);
    expect(text(result)).toBe("10.0.2.15 127.0.0.1 true\n");
  });

  test("each half closes alone", async () => {
    const port = await onTcp((socket) => {
      let heard = "";
      socket.on("data", (chunk) => (heard += String(chunk))).on("end", () => socket.end(`heard ${heard}`));
    });
    const runtime = await make({ loopbackExemptPorts: [port] });
    const result = await runtime.exec(`
      const socket = require("node:net").connect({ port: ${port}, host: "127.0.0.1", allowHalfOpen: true }, () => socket.end("all"));
      socket.on("data", (data) => console.log(String(data))).on("end", () => console.log("end"));
    `);
    expect(text(result)).toBe("heard all\nend\n");
  });

  test("64 MiB pass each way, and a reader that waits makes the sender wait", async () => {
    const MIB = 2 ** 20;
    const total = 64 * MIB;
    let sent = 0;
    let received = 0;
    const port = await onTcp((socket) => {
      socket.on("data", (chunk) => (received += chunk.length));
      const chunk = Buffer.alloc(MIB / 4, 7);
      const pump = (): void => {
        while (sent < total) {
          sent += chunk.length;
          if (!socket.write(chunk)) return;
        }
        socket.end();
      };
      socket.on("drain", pump);
      pump();
    });
    const runtime = await make({
      loopbackExemptPorts: [port],
      hostFunctions: {
        stalled: async () => {
          for (let last = -1; last !== sent; ) {
            last = sent;
            await new Promise((resolve) => setTimeout(resolve, 300));
          }
          return sent;
        },
      },
    });
    const result = await runtime.exec(`
      const net = require("node:net");
      const { once } = require("node:events");
      (async () => {
        const socket = net.connect({ port: ${port}, host: "127.0.0.1", allowHalfOpen: true });
        await once(socket, "connect");
        console.log((await SecureExec.hostFunctions.stalled()) < ${total});
        let read = 0;
        socket.on("data", (chunk) => (read += chunk.length));
        await once(socket, "end");
        console.log(read);
        const chunk = Buffer.alloc(${MIB});
        for (let left = 64; left > 0; left--) if (!socket.write(chunk)) await once(socket, "drain");
        socket.end();
        await once(socket, "close");
      })();
    `);
    expect(text(result)).toBe(`true\n${total}\n`);
    await expect.poll(() => received).toBe(total);
  });

  test("fetch of the guest streams both ways", async () => {
    const port = await onHttp((request, response) => {
      response.writeHead(200, { "x-method": request.method ?? "" });
      request.pipe(response);
    });
    const runtime = await make({ loopbackExemptPorts: [port] });
    const result = await runtime.exec(`
      (async () => {
        const body = new ReadableStream({ start(controller) { for (let n = 0; n < 64; n++) controller.enqueue(new Uint8Array(65536)); controller.close(); } });
        const response = await fetch("http://127.0.0.1:${port}/", { method: "PUT", body, duplex: "half" });
        console.log(response.status, response.headers.get("x-method"), (await response.arrayBuffer()).byteLength);
      })();
    `);
    expect(text(result)).toBe(`200 PUT ${64 * 65_536}\n`);
  });

  test("they end with the process, and with the VM; a neighbour goes on", async () => {
    const closed: string[] = [];
    const sockets: Socket[] = [];
    const port = await onTcp((socket) => {
      sockets.push(socket);
      const name = String(sockets.length);
      const flood = (): void => {
        while (socket.writable && socket.write(Buffer.alloc(65_536)));
      };
      socket.on("drain", flood).on("error", () => {}).on("close", () => closed.push(name));
      flood();
    });
    const neighbour = await make();
    const first = await make({ loopbackExemptPorts: [port] });
    const hold = `require("node:net").connect(${port}, "127.0.0.1").on("data", () => {});`;
    const process = await first.spawn(hold);
    await expect.poll(() => sockets.length).toBe(1);
    process.kill("SIGKILL");
    await process.wait();
    await expect.poll(() => closed).toEqual(["1"]);
    await first.spawn(hold);
    await expect.poll(() => sockets.length).toBe(2);
    await first.dispose();
    await expect.poll(() => closed).toEqual(["1", "2"]);
    expect((await neighbour.exec("console.log(1 + 1)")).stdout).toBe("2\n");
  });

  test("connections that are being opened count, given up or not", async () => {
    const runtime = await make({ permissions: { network: "allow" }, resourceBudgets: { maxConnections: 4 }, loopbackExemptPorts: [1] });
    const result = await runtime.exec(`
      const net = require("node:net");
      let left = 200;
      const next = () => net.connect(1, "127.0.0.1").on("error", (error) => { if (--left > 0) next(); else console.log(error.code); });
      next();
    `);
    expect(text(result)).toBe("ECONNREFUSED\n");
    const port = await onTcp(() => {});
    const full = await make({ resourceBudgets: { maxConnections: 4 }, loopbackExemptPorts: [port] });
    const many = await full.exec(`
      const net = require("node:net");
      const codes = [];
      for (let n = 0; n < 6; n++) {
        net.connect(${port}, "127.0.0.1").on("error", (error) => { codes.push(error.code); if (codes.length === 2) { console.log(codes.join()); process.exit(); } });
      }
    `);
    expect(text(many)).toBe("ENFILE,ENFILE\n");
  });
});

describe("datagrams", () => {
  test("go out and come back where policy allows, and only from where some were sent", async () => {
    const socket = createSocket("udp4");
    const stranger = createSocket("udp4");
    closing.push(() => socket.close(), () => stranger.close());
    socket.on("message", (message, from) => {
      stranger.send("from a stranger", from.port, from.address, () => socket.send(`echo ${String(message)}`, from.port, from.address));
    });
    socket.bind(0, "127.0.0.1");
    await once(socket, "listening");
    const { port } = socket.address();
    const program = `
      const socket = require("node:dgram").createSocket("udp4");
      socket.on("message", (message, from) => { console.log(String(message), from.address, from.port === ${port}); socket.close(); });
      socket.send("hello", ${port}, "127.0.0.1");
    `;
    const runtime = await make({ loopbackExemptPorts: [port] });
    expect(text(await runtime.exec(program))).toBe("echo hello 127.0.0.1 true\n");
    const refused = await runtime.exec(`
      const socket = require("node:dgram").createSocket("udp4");
      let left = 3;
      for (const host of ["8.8.8.8", "192.168.0.1", "255.255.255.255"]) {
        socket.send("x", 53, host, (error) => { console.log(error.code); if (--left === 0) socket.close(); });
      }
    `);
    expect(text(refused)).toBe("EACCES\n".repeat(3));
  });

  test.skipIf(own === undefined)("to addresses that a rule names", async () => {
    const host = own as string;
    const socket = createSocket("udp4");
    closing.push(() => socket.close());
    socket.on("message", (message, from) => socket.send(message, from.port, from.address));
    socket.bind(0, host);
    await once(socket, "listening");
    const { port } = socket.address();
    const network = { rules: [{ mode: "allow" as const, operations: ["send"], patterns: [`udp://${host}:${port}`] }] };
    const runtime = await make({ permissions: { network } });
    const result = await runtime.exec(`
      const socket = require("node:dgram").createSocket("udp4");
      socket.connect(${port}, "${host}", () => socket.send("again"));
      socket.on("message", (message) => { console.log(String(message)); socket.close(); });
    `);
    expect(text(result)).toBe("again\n");
  });
});

describe("names", () => {
  test("are asked of the given servers, once, if policy allows them", async () => {
    const server = await startNameServer({
      "web.test": { A: ["169.254.169.254"], AAAA: [] },
      "mail.test": { MX: [[10, "mx.mail.test"]], TXT: [["a", "b"]], A: ["192.0.2.9"] },
    });
    closing.push(() => server.close());
    const runtime = await make({
      dns: { servers: [`127.0.0.1:${server.port}`], overrides: { "Pinned.Test": ["192.0.2.7", "2001:db8::7"] } },
      permissions: { network: { rules: [{ mode: "allow", hosts: ["*.test"], ports: [80] }] } },
    });
    const result = await runtime.exec(`
      const dns = require("node:dns").promises;
      const net = require("node:net");
      const code = (promise) => promise.then((value) => JSON.stringify(value), (error) => error.code);
      (async () => {
        console.log(await code(dns.lookup("pinned.test", { all: true })));
        console.log(await code(dns.lookup("web.test")));
        console.log(await code(dns.resolve4("web.test", { ttl: true })));
        console.log(await code(dns.resolve6("web.test")));
        console.log(await code(dns.resolveMx("mail.test")), await code(dns.resolveTxt("mail.test")));
        console.log(await code(dns.lookup("none.test")), await code(dns.resolve4("none.test")));
        console.log(await code(dns.lookup("evil.example")), await code(dns.resolveTxt("secret.evil.example")), await code(dns.reverse("8.8.8.8")));
        const resolver = new dns.Resolver({ timeout: 100, tries: 1 });
        resolver.setServers(["192.0.2.1"]);
        console.log(await code(resolver.resolve4("web.test")));
        net.connect(80, "web.test").on("error", (error) => console.log(error.code, error.address));
      })();
    `);
    expect(text(result).trimEnd().split("\n")).toEqual([
      '[{"address":"192.0.2.7","family":4},{"address":"2001:db8::7","family":6}]',
      '{"address":"169.254.169.254","family":4}',
      '[{"address":"169.254.169.254","ttl":60}]',
      "ENODATA",
      '[{"exchange":"mx.mail.test","priority":10}] [["a","b"]]',
      "ENOTFOUND ENOTFOUND",
      "EACCES ECONNREFUSED ECONNREFUSED",
      "ECONNREFUSED",
      "EACCES 169.254.169.254",
    ]);
    expect(server.asked.filter((name) => !name.endsWith(".test"))).toEqual([]);
  });

  test("what is dialled is what was checked: a name that changes its mind is checked again", async () => {
    const answers = [["192.0.2.1"], ["169.254.169.254"], ["10.0.0.1"]];
    const server = await startNameServer({ "rebind.test": { A: () => answers.shift() ?? ["127.0.0.1"] } });
    closing.push(() => server.close());
    const port = await onTcp(() => expect.unreachable("the host's loopback was dialled"));
    const runtime = await make({ dns: { servers: [`127.0.0.1:${server.port}`] }, permissions: { network: "allow" } });
    const found: string[] = [];
    for (let round = 0; round < 4; round++) found.push((await tryAll(runtime, [["rebind.test", port]]))["rebind.test"] ?? "");
    // The last answer is the guest's own loopback.
    expect(found).toEqual(["EACCES", "EACCES", "EACCES", "ECONNREFUSED"]);
  });
});

describe("runtime.network", () => {
  test("reaches guests' servers and exempted ports, and nothing else without a grant", async () => {
    const port = await onHttp((request, response) => response.end(`${request.method ?? ""} ${request.headers.host ?? ""}`));
    const runtime = await make({ loopbackExemptPorts: [port] });
    await runtime.spawn(`require("node:http").createServer((request, response) => request.pipe(response)).listen(3000)`);
    await runtime.waitForListener({ port: 3000 });
    expect(await runtime.network.fetch("http://localhost:3000/", { method: "POST", body: "echo" })).toMatchObject({ ok: true, body: "echo" });
    expect((await runtime.network.httpRequest(`http://127.0.0.1:${port}/`)).body).toBe(`GET 127.0.0.1:${port}`);
    await expect(runtime.network.fetch("http://8.8.8.8/")).rejects.toMatchObject({ code: "EACCES" });
    await expect(runtime.network.fetch("http://169.254.169.254/")).rejects.toMatchObject({ code: "EACCES" });
    await expect(runtime.network.fetch("http://127.0.0.1:3001/")).rejects.toMatchObject({ code: "ECONNREFUSED" });
    await expect(runtime.network.fetch("ftp://localhost/")).rejects.toThrow(TypeError);
    expect(await runtime.network.dnsLookup("example.com")).toMatchObject({ code: "EACCES" });
    expect(await runtime.network.dnsLookup("localhost")).toEqual({ address: "127.0.0.1", family: 4 });
    await runtime.dispose();
    await expect(runtime.network.fetch("http://localhost:3000/")).rejects.toMatchObject({ code: "ERR_RUNTIME_DISPOSED" });
  });

  test("asks again for each redirect, and drops credentials and bodies as fetch does", async () => {
    const seen: Record<string, unknown>[] = [];
    let other = 0;
    const port = await onHttp((request, response) => {
      seen.push({ url: request.url, method: request.method, auth: request.headers.authorization, cookie: request.headers.cookie });
      const to: Record<string, string> = {
        "/same": "/end",
        "/other": `http://localhost:${other}/end`,
        "/metadata": "http://169.254.169.254/",
        "/loop": "/loop",
      };
      const location = to[request.url ?? ""];
      if (location === undefined) response.end("end");
      else response.writeHead(302, { location }).end();
    });
    other = port;
    const asked: NetworkRequest[] = [];
    const network = (request: NetworkRequest): boolean => {
      asked.push(request);
      return true;
    };
    const runtime = await make({ loopbackExemptPorts: [port], permissions: { network } });
    const headers = { Authorization: "secret", Cookie: "a=b" };
    const init = { method: "POST", body: "x", headers };
    expect(await runtime.network.fetch(`http://127.0.0.1:${port}/same`, init)).toMatchObject({ redirected: true, body: "end" });
    expect(await runtime.network.fetch(`http://127.0.0.1:${port}/other`, init)).toMatchObject({ redirected: true, body: "end" });
    expect(seen).toEqual([
      { url: "/same", method: "POST", auth: "secret", cookie: "a=b" },
      { url: "/end", method: "GET", auth: "secret", cookie: "a=b" },
      { url: "/other", method: "POST", auth: "secret", cookie: "a=b" },
      { url: "/end", method: "GET", auth: undefined, cookie: undefined },
    ]);
    const fetches = asked.filter(({ op }) => op === "fetch").map(({ url, method, hostname }) => [url, method, hostname]);
    expect(fetches.slice(0, 2)).toEqual([
      [`http://127.0.0.1:${port}/same`, "POST", "127.0.0.1"],
      [`http://127.0.0.1:${port}/end`, "GET", "127.0.0.1"],
    ]);
    await expect(runtime.network.fetch(`http://127.0.0.1:${port}/metadata`)).rejects.toMatchObject({ code: "EACCES" });
    await expect(runtime.network.fetch(`http://127.0.0.1:${port}/loop`)).rejects.toMatchObject({ code: "ERR_TOO_MANY_REDIRECTS" });
  });

  test("bodies have a cap, and bytes that are no text come as base64", async () => {
    const port = await onHttp((request, response) => {
      if (request.url === "/bytes") response.end(Buffer.from([0xff, 0xfe, 0]));
      else response.end(Buffer.alloc(100_000, "x"));
    });
    const runtime = await make({ loopbackExemptPorts: [port], resourceBudgets: { maxHttpBodyBytes: 50_000 } });
    const bytes = await runtime.network.fetch(`http://127.0.0.1:${port}/bytes`);
    expect(bytes.headers["x-body-encoding"]).toBe("base64");
    expect([...Buffer.from(bytes.body, "base64")]).toEqual([0xff, 0xfe, 0]);
    await expect(runtime.network.fetch(`http://127.0.0.1:${port}/`)).rejects.toMatchObject({ code: "ERR_HTTP_BODY_TOO_LARGE" });
  });
});
