// node:http2 over plain TCP: server and client in one program.
const assert = require("node:assert");
const { once } = require("node:events");
const fs = require("node:fs");
const http2 = require("node:http2");
const net = require("node:net");
const os = require("node:os");
const path = require("node:path");

const file = path.join(os.tmpdir(), `http2-${process.pid}.txt`);
fs.writeFileSync(file, "0123456789".repeat(10_000));

const routes = {
  "/echo": (stream) => {
    stream.respond({ ":status": 200, "content-type": "text/plain" });
    stream.pipe(stream);
  },
  "/trailers": (stream) => {
    stream.additionalHeaders({ ":status": 103, link: "</a.css>; rel=preload" });
    stream.respond({ ":status": 201, "set-cookie": ["a=1", "b=2"] }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "x-sum": "42" }));
    stream.end("body");
  },
  "/file": (stream) => stream.respondWithFile(file, { "content-type": "text/plain" }, { offset: 5, length: 50_000 }),
  "/push": (stream) => {
    stream.pushStream({ ":path": "/pushed" }, (error, pushed) => {
      assert.ifError(error);
      pushed.respond({ ":status": 200, "x-pushed": "yes" });
      pushed.end("pushed body");
    });
    stream.respond({ ":status": 200 });
    stream.end("pushing");
  },
  "/reset": (stream) => stream.close(http2.constants.NGHTTP2_ENHANCE_YOUR_CALM),
};

async function ask(client, headers, body) {
  const request = client.request(headers);
  const log = [];
  request.on("headers", (headers) => log.push(["headers", headers[":status"], headers.link]));
  request.on("trailers", (headers) => log.push(["trailers", headers["x-sum"]]));
  const response = once(request, "response");
  request.end(body);
  const [head] = await response;
  let length = 0;
  let start = "";
  for await (const chunk of request) {
    length += chunk.length;
    if (start.length < 20) start += chunk.toString("latin1").slice(0, 20);
  }
  console.log(headers[":path"], head[":status"], head["content-type"], head["set-cookie"], length, start.slice(0, 20), log);
}

async function main() {
  const server = http2.createServer({ settings: { maxConcurrentStreams: 50 } });
  server.on("stream", (stream, headers) => {
    stream.on("error", () => {});
    const route = routes[headers[":path"]];
    if (route) route(stream, headers);
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const { port } = server.address();
  const client = http2.connect(`http://127.0.0.1:${port}`);
  await once(client, "remoteSettings");
  console.log(client.remoteSettings.maxConcurrentStreams, client.alpnProtocol, client.encrypted);

  await ask(client, { ":path": "/echo", ":method": "POST" }, Buffer.alloc(300_000, "x"));
  await ask(client, { ":path": "/trailers" });
  await ask(client, { ":path": "/file" });

  const pushed = once(client, "stream").then(async ([stream, headers]) => {
    const [head] = await once(stream, "push");
    let text = "";
    for await (const chunk of stream) text += chunk;
    console.log("pushed", headers[":path"], head["x-pushed"], text);
  });
  await Promise.all([pushed, ask(client, { ":path": "/push" })]);

  const reset = client.request({ ":path": "/reset" });
  const [error] = await once(reset, "error");
  console.log(error.code, error.message, reset.rstCode);

  const many = Array.from({ length: 40 }, (_, index) => {
    const request = client.request({ ":path": "/echo", ":method": "POST" });
    request.end(Buffer.alloc(10_000 + index));
    let length = 0;
    request.on("data", (chunk) => (length += chunk.length));
    return once(request, "close").then(() => length);
  });
  console.log((await Promise.all(many)).reduce((a, b) => a + b));

  const payload = Buffer.from("12345678");
  await new Promise((resolve) => {
    client.ping(payload, (error, _duration, answer) => {
      console.log("ping", error, answer.equals(payload));
      resolve();
    });
  });
  await new Promise((resolve) => client.settings({ enablePush: false }, resolve));
  console.log(client.localSettings.enablePush, client.state.nextStreamID);

  client.close();
  await once(client, "close");

  // A peer that does not speak HTTP/2.
  const failed = once(server, "sessionError");
  const raw = net.connect(port, "127.0.0.1").on("error", () => {});
  raw.end("GET / HTTP/1.1\r\n\r\n");
  console.log((await failed)[0].code);
  server.close();
  await once(server, "close");
  fs.unlinkSync(file);

  const compatible = http2.createServer((request, response) => {
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify({ method: request.method, url: request.url, version: request.httpVersion }));
  });
  await once(compatible.listen(0, "127.0.0.1"), "listening");
  const second = http2.connect(`http://127.0.0.1:${compatible.address().port}`);
  await ask(second, { ":path": "/compat" });
  second.close();
  compatible.close();
  await once(compatible, "close");

  for (const attempt of [
    () => http2.connect("ftp://localhost"),
    () => http2.getPackedSettings({ maxFrameSize: 1 }),
    () => client.request({ ":path": "/" }),
  ]) {
    try {
      attempt();
    } catch (error) {
      console.log(error.name, error.code, error.message);
    }
  }
  console.log(http2.getPackedSettings({ headerTableSize: 100 }).toString("hex"), http2.getDefaultSettings());
  console.log(Object.keys(http2.constants).length, http2.sensitiveHeaders);
}

main();
