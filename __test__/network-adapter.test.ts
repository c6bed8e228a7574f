/** A `networkAdapter` of the embedder's performs what guests ask of the outside. */

import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { NetworkAdapter, NetworkHttpResponse, NetworkRequest, NetworkRequestInit, NodeRuntime, NodeRuntimeCreateOptions } from "secure-exec";
import { createDefaultNetworkAdapter } from "secure-exec";
import { describe, expect, test } from "vitest";
import { make, root } from "./support.js";

interface Call {
  by: "fetch" | "httpRequest";
  url: string;
  init: NetworkRequestInit;
}

type Perform = (call: Call) => Partial<NetworkHttpResponse> | Promise<Partial<NetworkHttpResponse>>;

/** Answers with what it was asked, unless told otherwise. All names have one address, as if one proxy stood for them. */
class Recorder implements NetworkAdapter {
  readonly calls: Call[] = [];
  readonly names: string[] = [];
  readonly perform: Perform;
  address = "203.0.113.9";

  constructor(perform: Perform = ({ by, url, init }) => ({ body: `${by} ${init.method} ${url}` })) {
    this.perform = perform;
  }

  async #answer(call: Call) {
    this.calls.push(call);
    const answer = { status: 200, statusText: "OK", headers: {}, body: "", url: call.url, ...(await this.perform(call)) };
    return { ...answer, ok: true, redirected: false };
  }

  fetch = (url: string, init: NetworkRequestInit = {}) => this.#answer({ by: "fetch", url, init });
  httpRequest = (url: string, init: NetworkRequestInit = {}) => this.#answer({ by: "httpRequest", url, init });
  dnsLookup = async (hostname: string) => {
    this.names.push(hostname);
    if (hostname.startsWith("no.")) return { error: "no such name", code: "ENOTFOUND" };
    return { address: this.address, family: 4 };
  };
}

async function withAdapter(networkAdapter: NetworkAdapter, options: NodeRuntimeCreateOptions = {}): Promise<NodeRuntime> {
  return make({ permissions: { network: "allow" }, timingMitigation: "off", ...options, networkAdapter });
}

/** What a program prints, line by line; it is a module. */
async function lines(runtime: NodeRuntime, code: string): Promise<string[]> {
  const { stdout = "", stderr = "", code: status } = await runtime.exec(code, { filePath: "/workspace/main.mjs" });
  if (status !== 0 || stderr !== "") throw new Error(`${status}: ${stderr}`);
  return stdout.trimEnd().split("\n");
}

/** In guests: what a request with `node:http` or `node:https` is answered. */
const REQUEST = `
  import http from "node:http";
  import https from "node:https";
  import { once } from "node:events";
  const request = async (url, options = {}, body) => {
    const sent = (url.startsWith("https") ? https : http).request(url, options).end(body);
    const [response] = await once(sent, "response");
    const chunks = [];
    for await (const chunk of response) chunks.push(chunk);
    return { status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks), socket: response.socket };
  };
  const failure = (promise) => promise.then((r) => "answered " + (r.status ?? r), (e) => e.cause?.code ?? e.code ?? String(e));`;

describe("requests", () => {
  test("fetch goes to fetch, with method, headers and body", async () => {
    const adapter = new Recorder(() => ({ status: 201, statusText: "Made", headers: { "X-Answer": "yes", "content-encoding": "gzip" }, body: "grüße" }));
    const runtime = await withAdapter(adapter);
    const printed = await lines(
      runtime,
      `const r = await fetch("https://api.test/v1?q=1#f", { method: "POST", headers: { "X-Own": "1" }, body: "süß" });
       console.log(r.status, r.statusText, r.headers.get("x-answer"), r.headers.get("date"), await r.text());
       console.log(await (await fetch("http://api.test:8080/")).text());`,
    );
    expect(printed).toEqual(["201 Made yes null grüße", "grüße"]);
    expect(adapter.calls.map(({ by, url }) => [by, url])).toEqual([
      ["fetch", "https://api.test/v1?q=1"],
      ["fetch", "http://api.test:8080/"],
    ]);
    const [first, second] = adapter.calls;
    expect(first?.init.method).toBe("POST");
    expect(first?.init.body).toBe("süß");
    expect(first?.init.headers).toMatchObject({ "x-own": "1", "content-type": "text/plain;charset=UTF-8", accept: "*/*" });
    for (const name of ["host", "connection", "content-length", "accept-encoding", "sec-fetch-mode"]) {
      expect(first?.init.headers).not.toHaveProperty(name);
    }
    expect(second?.init).toMatchObject({ method: "GET", body: null });
  });

  test("other clients go to httpRequest, with bytes as they are", async () => {
    const bytes = Buffer.from([0, 255, 128, 10, 13, 1]);
    const adapter = new Recorder(({ init }) => ({
      headers: { "x-body-encoding": "base64", "set-cookie": ["a=1", "b=2"] as never },
      body: Buffer.from((init.body as Uint8Array | null) ?? []).toString("base64"),
    }));
    const runtime = await withAdapter(adapter);
    const printed = await lines(
      runtime,
      `${REQUEST}
       for (const url of ["http://a.test/x", "https://a.test/x"]) {
         const r = await request(url, { method: "PUT" }, Buffer.from(${JSON.stringify([...bytes])}));
         console.log(r.status, r.body.toString("hex"), r.headers["set-cookie"].join(), r.headers["x-body-encoding"]);
       }
       const head = await request("http://a.test/x", { method: "HEAD" });
       console.log(head.status, head.body.length);`,
    );
    expect(printed).toEqual([`200 ${bytes.toString("hex")} a=1,b=2 undefined`, `200 ${bytes.toString("hex")} a=1,b=2 undefined`, "200 0"]);
    expect(adapter.calls.map(({ by, url, init }) => `${by} ${init.method} ${url}`)).toEqual([
      "httpRequest PUT http://a.test/x",
      "httpRequest PUT https://a.test/x",
      "httpRequest HEAD http://a.test/x",
    ]);
    expect(adapter.calls[0]?.init.body).toBeInstanceOf(Uint8Array);
  });

  test("axios, node-fetch and undici find it too", async () => {
    const adapter = new Recorder();
    const runtime = await withAdapter(adapter, { nodeModules: `${root}__test__/packages/node_modules` });
    const printed = await lines(
      runtime,
      `import axios from "axios";
       import nodeFetch from "node-fetch";
       import { Agent, request } from "undici";
       console.log((await axios.get("https://a.test/axios")).data);
       console.log(await (await nodeFetch("https://b.test/node-fetch")).text());
       const agent = new Agent({ connections: 1, pipelining: 1, allowH2: true });
       const asked = await Promise.all([1, 2, 3].map((n) => request("https://c.test/" + n, { dispatcher: agent, method: "POST", body: "b" })));
       for (const { body } of asked) console.log(await body.text());
       await agent.close();`,
    );
    expect(printed).toEqual([
      "httpRequest GET https://a.test/axios",
      "httpRequest GET https://b.test/node-fetch",
      "httpRequest POST https://c.test/1",
      "httpRequest POST https://c.test/2",
      "httpRequest POST https://c.test/3",
    ]);
  });

  test("a connection that is kept serves one request after the other, also when many are sent at once", async () => {
    let running = 0;
    let most = 0;
    const adapter = new Recorder(async ({ url }) => {
      most = Math.max(most, ++running);
      await new Promise((resolve) => setTimeout(resolve, 5));
      running -= 1;
      return { body: url };
    });
    const runtime = await withAdapter(adapter);
    const printed = await lines(
      runtime,
      `${REQUEST}
       const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
       const all = await Promise.all([1, 2, 3].map((n) => request("https://a.test/" + n, { agent })));
       console.log(all.map((r) => r.body.toString()).join(), new Set(all.map((r) => r.socket)).size);
       agent.destroy();
       import net from "node:net";
       const socket = net.connect(80, "a.test");
       socket.write("GET /4 HTTP/1.1\\r\\nHost: a.test\\r\\n\\r\\nGET /5 HTTP/1.1\\r\\nHost: a.test\\r\\nConnection: close\\r\\n\\r\\n");
       let text = "";
       for await (const chunk of socket.setEncoding("latin1")) text += chunk;
       console.log(text.match(/http:[^\\sH]+/g).join());`,
    );
    expect(printed).toEqual(["https://a.test/1,https://a.test/2,https://a.test/3 1", "http://a.test/4,http://a.test/5"]);
    expect(most).toBe(1);
  });

  test("redirects are the client's to follow, and each is asked for", async () => {
    const asked: string[] = [];
    const adapter = new Recorder(({ url }) => (url.endsWith("/start") ? { status: 302, headers: { location: "http://bad.test/secret" } } : {}));
    const network = ({ op, hostname, url }: NetworkRequest) => {
      if (op === "fetch") asked.push(url ?? "");
      return op === "dns" || op === "connect" || hostname === "good.test";
    };
    const runtime = await withAdapter(adapter, { permissions: { network } });
    const printed = await lines(runtime, `${REQUEST} console.log(await failure(fetch("http://good.test/start")));`);
    expect(printed).toEqual(["EACCES"]);
    expect(asked).toEqual(["http://good.test/start", "http://bad.test/secret"]);
    expect(adapter.calls.map(({ url }) => url)).toEqual(["http://good.test/start"]);
  });
});

describe("TLS", () => {
  test("connections are authorized without a certificate, whatever the guest trusts", async () => {
    const runtime = await withAdapter(new Recorder());
    const printed = await lines(
      runtime,
      `${REQUEST}
       import tls from "node:tls";
       import net from "node:net";
       const socket = tls.connect({ host: "a.test", port: 443, servername: "a.test", ca: [], ALPNProtocols: ["h2", "http/1.1"] });
       await once(socket, "secureConnect");
       console.log(socket.authorized, socket.encrypted, socket.alpnProtocol, socket.getProtocol(), socket.servername, Object.keys(socket.getPeerCertificate()).length);
       socket.end();
       const below = net.connect(443, "a.test");
       await once(below, "connect");
       const above = tls.connect({ socket: below, servername: "a.test" });
       above.write("GET /above HTTP/1.0\\r\\n\\r\\n");
       let text = "";
       for await (const chunk of above.setEncoding("latin1")) text += chunk;
       console.log(text.split("\\r\\n").at(-1));
       console.log((await request("https://a.test/x", { ca: [], rejectUnauthorized: true })).body.toString());`,
    );
    expect(printed).toEqual(["true true http/1.1 TLSv1.3 a.test 0", "httpRequest GET https://a.test/above", "httpRequest GET https://a.test/x"]);
  });

  test("it stays TLS between a guest and its own server", async () => {
    const runtime = await withAdapter(new Recorder());
    const printed = await lines(
      runtime,
      `${REQUEST}
       import net from "node:net";
       const server = net.createServer((socket) => socket.once("data", (data) => { console.log(data[0]); socket.destroy(); })).listen(0, "127.0.0.1");
       await once(server, "listening");
       console.log(await failure(request("https://127.0.0.1:" + server.address().port + "/")));
       server.close();`,
    );
    // The first byte of a client's hello.
    expect(printed).toEqual(["22", "ECONNRESET"]);
  });
});

describe("names", () => {
  test("lookups and queries go to dnsLookup", async () => {
    const adapter = new Recorder();
    const runtime = await withAdapter(adapter);
    const printed = await lines(
      runtime,
      `import dns from "node:dns/promises";
       const tell = (promise) => promise.then((found) => console.log(JSON.stringify(found)), (error) => console.log(error.code));
       await tell(dns.lookup("A.test"));
       await tell(dns.lookup("no.test"));
       await tell(dns.resolve4("b.test"));
       await tell(dns.resolve6("b.test"));
       await tell(dns.resolve4("no.test"));
       await tell(dns.resolveMx("b.test"));
       await tell(dns.lookup("localhost", { family: 4 }));`,
    );
    expect(printed).toEqual([
      '{"address":"203.0.113.9","family":4}',
      "ENOTFOUND",
      '["203.0.113.9"]',
      "ENODATA",
      "ENOTFOUND",
      "ECONNREFUSED",
      '{"address":"127.0.0.1","family":4}',
    ]);
    expect(adapter.names).toEqual(["a.test", "no.test", "b.test", "b.test", "no.test"]);
  });

  test("names that share an address are told apart, and an address that only stands for a name is nobody's own", async () => {
    const adapter = new Recorder();
    adapter.address = "127.0.0.1";
    const runtime = await withAdapter(adapter);
    const printed = await lines(
      runtime,
      `${REQUEST}
       const texts = await Promise.all(["a", "b", "c"].map(async (name) => (await fetch("http://" + name + ".test:3000/")).text()));
       console.log(texts.join());
       console.log(await failure(fetch("http://127.0.0.1:3000/")), await failure(fetch("http://localhost:3000/")));
       const server = http.createServer((request, response) => response.end("own")).listen(3000, "127.0.0.1");
       await once(server, "listening");
       console.log(await (await fetch("http://127.0.0.1:3000/")).text());
       server.close();
       server.closeAllConnections();`,
    );
    const urls = ["a", "b", "c"].map((name) => `fetch GET http://${name}.test:3000/`);
    expect(printed).toEqual([urls.join(), "ECONNREFUSED ECONNREFUSED", "own"]);
    expect(adapter.calls.map(({ url }) => url).sort()).toEqual(["http://a.test:3000/", "http://b.test:3000/", "http://c.test:3000/"]);
  });

  test("dns.overrides come first", async () => {
    const adapter = new Recorder();
    const runtime = await withAdapter(adapter, { dns: { overrides: { db: ["10.0.0.7"] } } });
    const printed = await lines(runtime, `console.log(await (await fetch("http://db:8080/x")).text())`);
    expect(printed).toEqual(["fetch GET http://db:8080/x"]);
    expect(adapter.names).toEqual([]);
  });
});

describe("permissions", () => {
  test("each request is asked for with all that it says", async () => {
    const asked: NetworkRequest[] = [];
    const network = (request: NetworkRequest) => {
      asked.push(request);
      return true;
    };
    const runtime = await withAdapter(new Recorder(), { permissions: { network } });
    await lines(runtime, `${REQUEST} await fetch("https://a.test:8443/p?q"); await request("http://b.test/", { method: "DELETE" });`);
    const told = asked.map(({ op, hostname, port, url, method }) => [op, hostname, port, url, method].filter((part) => part !== undefined).join(" "));
    expect(told).toEqual([
      "dns a.test 0",
      "connect a.test 8443",
      "fetch a.test 8443 https://a.test:8443/p?q GET",
      "dns b.test 0",
      "connect b.test 80",
      "http b.test 80 http://b.test/ DELETE",
    ]);
  });

  test("what is denied is EACCES and never reaches the adapter", async () => {
    const adapter = new Recorder();
    const runtime = await withAdapter(adapter, { permissions: { network: { rules: [{ mode: "allow", hosts: ["good.test"] }] } } });
    const printed = await lines(
      runtime,
      `${REQUEST}
       console.log(await failure(fetch("http://good.test/")));
       console.log(await failure(fetch("http://bad.test/")));
       console.log(await failure(request("https://bad.test/")));
       console.log(await failure(fetch("http://93.184.216.34/")));
       console.log(await failure(request("http://good.test/", { headers: { host: "bad.test" } })));
       console.log(await failure(request("http://good.test/", { path: "http://bad.test/" })));
       console.log(await failure(request("http://good.test/", { path: "//bad.test/x" })));`,
    );
    expect(printed).toEqual(["answered 200", "EACCES", "EACCES", "EACCES", "answered 200", "EPROTO", "answered 200"]);
    expect(new Set(adapter.names)).toEqual(new Set(["good.test"]));
    // The name of a header is no place to go to.
    expect(adapter.calls.map(({ url, init }) => [url, init.headers?.["host"]])).toEqual([
      ["http://good.test/", undefined],
      ["http://good.test/", "bad.test"],
      ["http://good.test//bad.test/x", undefined],
    ]);
  });

  test("rules about methods and URLs hold for guests", async () => {
    const adapter = new Recorder();
    const rules = [{ mode: "allow" as const, operations: ["http"], hosts: ["api.test"], methods: ["GET"], urlPattern: "https://api.test/v1/*" }];
    const runtime = await withAdapter(adapter, { permissions: { network: { rules } } });
    const printed = await lines(
      runtime,
      `${REQUEST}
       console.log(await failure(request("https://api.test/v1/x")));
       console.log(await failure(request("https://api.test/v1/x", { method: "POST" })));
       console.log(await failure(request("https://api.test/v2/x")));
       console.log(await failure(request("http://api.test/v1/x")));
       console.log(await failure(fetch("https://api.test/v1/x")));
       console.log(await failure(request("https://other.test/v1/x")));`,
    );
    expect(printed).toEqual(["answered 200", "EACCES", "EACCES", "EACCES", "EACCES", "EACCES"]);
    expect(adapter.names.includes("other.test")).toBe(false);
    expect(adapter.calls.map(({ url }) => url)).toEqual(["https://api.test/v1/x"]);
  });

  test("addresses that are not of the public internet are refused unless they are named", async () => {
    const adapter = new Recorder();
    adapter.address = "10.0.0.5";
    const rules = [{ mode: "allow" as const }, { mode: "allow" as const, hosts: ["10.0.0.7"] }];
    const runtime = await withAdapter(adapter, { permissions: { network: { rules } } });
    const printed = await lines(
      runtime,
      `${REQUEST}
       for (const host of ["169.254.169.254", "10.0.0.5", "[fd00:ec2::254]", "127.0.0.1", "10.0.0.7", "inner.test", "10.0.0.5"]) {
         console.log(await failure(fetch("http://" + host + "/")));
       }`,
    );
    // An address in disguise is judged as what it is; the guest's loopback is its own.
    const own = ["0x7f.1", "2130706433", "127.1", "0177.0.0.1"];
    const outside = ["0xa9fea9fe", "2852039166", "169.16689662", "10.6", "012.0.0.6"];
    const disguised = [...own, ...outside];
    expect(
      await lines(runtime, `${REQUEST} for (const host of ${JSON.stringify(disguised)}) console.log(await failure(request("http://x.test/", { hostname: host, headers: { host: "x.test" } })));`),
    ).toEqual([...own.map(() => "ECONNREFUSED"), ...outside.map(() => "EACCES")]);
    // Forgetting the name that led there does not change what a connection is to.
    const kept = await lines(
      runtime,
      `${REQUEST}
       import dns from "node:dns/promises";
       const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
       await request("http://inner.test/kept", { agent });
       const dnsNames = Array.from({ length: 1100 }, (_, n) => "n" + n + ".test");
       for (const name of dnsNames) await dns.lookup(name);
       const again = async (host) => failure(request("http://inner.test/kept", { agent, headers: { host } }));
       console.log(await again("inner.test"), await again("10.0.0.5"));
       agent.destroy();`,
    );
    expect(kept).toEqual(["answered 200 ECONNREFUSED"]);
    // The last is the address of a name by then, which is no leave to go there without it.
    expect(printed).toEqual(["EACCES", "EACCES", "EACCES", "ECONNREFUSED", "answered 200", "answered 200", "ECONNREFUSED"]);
    expect(adapter.calls.map(({ url }) => url)).toEqual(["http://10.0.0.7/", "http://inner.test/", "http://inner.test/kept", "http://inner.test/kept"]);
  });
});

describe("what fails", () => {
  test("an adapter's error is one of the connection, with its code", async () => {
    const errors: Record<string, () => unknown> = {
      "/plain": () => new Error("boom"),
      "/code": () => Object.assign(new Error("boom"), { code: "ETIMEDOUT" }),
      "/cause": () => new TypeError("fetch failed", { cause: Object.assign(new Error("x"), { code: "ECONNREFUSED" }) }),
      "/nothing": () => undefined,
      "/proxy": () => new Proxy({}, { get: () => { throw new Error("trap"); } }),
    };
    const answers: Record<string, unknown> = {
      "/status": { status: 99 },
      "/headers": { headers: { "bad name": "x" } },
      "/text": { body: 5 },
      "/lines": { headers: { x: "a\r\nb: c" } },
    };
    const adapter = new Recorder(({ url }) => {
      const { pathname } = new URL(url);
      if (pathname in errors) throw errors[pathname]?.();
      return answers[pathname] as Partial<NetworkHttpResponse>;
    });
    const runtime = await withAdapter(adapter);
    const paths = [...Object.keys(errors), ...Object.keys(answers)];
    const printed = await lines(
      runtime,
      `${REQUEST} for (const path of ${JSON.stringify(paths)}) console.log(path, await failure(request("https://a.test" + path)));`,
    );
    expect(printed).toEqual([
      "/plain ECONNRESET",
      "/code ETIMEDOUT",
      "/cause ECONNREFUSED",
      "/nothing ECONNRESET",
      "/proxy ECONNRESET",
      "/status EPROTO",
      "/headers ECONNRESET",
      "/text EPROTO",
      "/lines ECONNRESET",
    ]);
  });

  test("bodies have a limit in both directions", async () => {
    const adapter = new Recorder(({ url }) => ({ body: "x".repeat(url.endsWith("/big") ? 65_537 : 65_536) }));
    const runtime = await withAdapter(adapter, { resourceBudgets: { maxHttpBodyBytes: 65_536 } });
    const printed = await lines(
      runtime,
      `${REQUEST}
       console.log((await request("http://a.test/fits", { method: "POST" }, Buffer.alloc(65536))).body.length);
       console.log(await failure(request("http://a.test/big")));
       console.log(await failure(request("http://a.test/fits", { method: "POST" }, Buffer.alloc(65537))));`,
    );
    expect(printed).toEqual(["65536", "EMSGSIZE", "EMSGSIZE"]);
    expect(adapter.calls).toHaveLength(2);
  });

  test("an adapter that never answers ends with the guest's patience, its program or its runtime", async () => {
    const runtime = await withAdapter(new Recorder(() => new Promise(() => {})));
    const printed = await lines(runtime, `${REQUEST} console.log(await failure(fetch("http://a.test/", { signal: AbortSignal.timeout(50) })));`);
    expect(printed).toEqual(["23"]);
    const limited = await runtime.exec(`await fetch("http://a.test/")`, { filePath: "/workspace/a.mjs", wallTimeLimitMs: 300 });
    expect(limited).toMatchObject({ reason: "wall", code: 124 });
    const pending = runtime.exec(`console.log("runs"); await fetch("http://a.test/")`, {
      filePath: "/workspace/a.mjs",
      onStdio: () => setTimeout(() => void runtime.dispose(), 50),
    });
    expect((await pending).reason).toBe("disposed");
  });

  test("only HTTP gets out", async () => {
    const adapter = new Recorder();
    const runtime = await withAdapter(adapter);
    const printed = await lines(
      runtime,
      `${REQUEST}
       import net from "node:net";
       import dgram from "node:dgram";
       import http2 from "node:http2";
       const talk = (port, bytes) => new Promise((resolve) => {
         const socket = net.connect(port, "a.test", () => socket.write(bytes)).on("error", (e) => resolve(e.code)).on("end", () => resolve("end")).resume();
       });
       console.log(await talk(25, "EHLO me\\r\\n"), await talk(443, Buffer.from([22, 3, 1, 0, 5, 1, 2, 3, 4, 5])));
       console.log(await talk(80, "CONNECT b.test:443 HTTP/1.1\\r\\nHost: b.test:443\\r\\n\\r\\n"));
       const h2 = http2.connect("https://a.test").on("error", () => {});
       console.log(await failure(once(h2.request().on("error", () => {}), "response")));
       const socket = dgram.createSocket("udp4");
       console.log(await new Promise((resolve) => socket.send("x", 53, "93.184.216.34", (error) => resolve(error?.code))));
       socket.close();
       await new Promise((resolve) => (new WebSocket("wss://a.test/").onerror = resolve));
       const upgrade = await request("http://a.test/", { headers: { connection: "upgrade", upgrade: "websocket", "sec-websocket-key": "x", "sec-websocket-version": "13" } });
       console.log(upgrade.status, upgrade.body.toString().trim());`,
    );
    expect(printed).toEqual(["EPROTO EPROTO", "EPROTO", "EPROTO", "ENETUNREACH", "501 the network adapter of this runtime has no WebSockets"]);
    expect(adapter.calls).toEqual([]);
  });
});

describe("other ways", () => {
  test("ports of the host's loopback that are exempt stay what they are", async () => {
    const adapter = new Recorder();
    const host = createServer((_request, response) => response.end("the host's")).listen(0, "127.0.0.1");
    await once(host, "listening");
    try {
      const { port } = host.address() as AddressInfo;
      const runtime = await withAdapter(adapter, { loopbackExemptPorts: [port] });
      const printed = await lines(runtime, `console.log(await (await fetch("http://127.0.0.1:${port}/")).text())`);
      expect(printed).toEqual(["the host's"]);
      expect(adapter.calls).toEqual([]);
      const usual = await make({ permissions: { network: "allow" }, networkAdapter: createDefaultNetworkAdapter({ initialExemptPorts: [port] }) });
      expect(await lines(usual, `console.log(await (await fetch("http://127.0.0.1:${port}/")).text())`)).toEqual(["the host's"]);
      expect((await usual.network.fetch(`http://127.0.0.1:${port}/`)).body).toBe("the host's");
    } finally {
      host.close();
    }
  });

  test("children and worker threads take it too", async () => {
    const runtime = await withAdapter(new Recorder(), { permissions: { network: "allow", childProcess: "allow" } });
    const printed = await lines(
      runtime,
      `import { execFileSync } from "node:child_process";
       import { Worker } from "node:worker_threads";
       import { once } from "node:events";
       const code = 'fetch("https://a.test/x").then((r) => r.text()).then(console.log)';
       console.log(execFileSync("node", ["-e", code]).toString().trim());
       await once(new Worker(code, { eval: true }), "exit");`,
    );
    expect(printed).toEqual(["fetch GET https://a.test/x", "fetch GET https://a.test/x"]);
  });
});
