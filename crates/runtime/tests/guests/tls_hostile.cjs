// What a guest can do to TLS and certificates without asking the library.
"use strict";
const assert = require("node:assert");
const net = require("node:net");
const tls = require("node:tls");
const { X509Certificate } = require("node:crypto");

const junk = [undefined, null, 0, -1, 1e9, NaN, "", "x", {}, [], () => {}, Symbol("s"), 1n, new Uint8Array(0), new Uint8Array(100_000),
  new Proxy({}, { get() { throw new Error("no"); } })];

const quietly = (call) => { try { return call(); } catch { return undefined; } };

// Methods of handles, whatever they are called on and with.
const socket = new tls.TLSSocket(new net.Socket());
const handle = socket._handle;
const context = tls.createSecureContext().context;
for (const target of [handle, context]) {
  const prototype = Object.getPrototypeOf(target);
  for (const name of Object.getOwnPropertyNames(prototype)) {
    if (name === "constructor" || name === "close") continue;
    const { value } = Object.getOwnPropertyDescriptor(prototype, name);
    if (typeof value !== "function") continue;
    for (const receiver of [{}, null, handle, context, new Uint8Array(8)]) {
      for (const one of junk) {
        for (const other of [undefined, one, {}]) quietly(() => value.call(receiver, one, other, other));
      }
    }
  }
}
socket.destroy();

// Bytes that are no certificates, or almost.
for (const bytes of junk) quietly(() => new X509Certificate(bytes));
for (let length = 0; length < 64; length++) {
  for (const first of [0x30, 0x30 ^ 0xff, 0xff]) {
    const der = Buffer.alloc(length, first);
    if (length > 1) der[1] = 0x84;
    assert.throws(() => new X509Certificate(der));
  }
}
const root = tls.rootCertificates[0];
const der = Buffer.from(root.replace(/-----[^-]*-----|\s/g, ""), "base64");
for (let at = 0; at < der.length; at += 3) {
  const changed = Buffer.from(der);
  changed[at] ^= 0xff;
  const certificate = quietly(() => new X509Certificate(changed));
  if (certificate !== undefined) quietly(() => [String(certificate.toLegacyObject()), certificate.subjectAltName, certificate.publicKey]);
}
for (let length = 0; length < der.length; length += 7) assert.throws(() => new X509Certificate(der.subarray(0, length)));

// A peer that speaks nothing, nonsense or half of it.
const errors = [];
const server = tls.createServer({}, () => assert.fail("no handshake can end"));
server.on("tlsClientError", (error) => errors.push(error.code));
server.listen(0, async () => {
  const hellos = [
    Buffer.from("GET / HTTP/1.1\r\n\r\n"),
    Buffer.alloc(300_000, 0x16),
    Buffer.from([22, 3, 1, 0xff, 0xff, 1, 0xff, 0xff, 0xff]),
    Buffer.from([22, 3, 1, 0, 5, 1, 0, 0, 1, 0]),
    Buffer.alloc(1),
  ];
  for (const hello of hellos) {
    await new Promise((resolve) => {
      const client = net.connect(server.address().port, () => client.end(hello));
      client.on("error", () => {}).on("close", resolve).resume();
    });
  }
  assert.strictEqual(errors[0], "ERR_SSL_HTTP_REQUEST");
  server.close();
});
