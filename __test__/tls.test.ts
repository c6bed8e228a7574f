/** TLS in guests: among themselves, and with the host's own node:tls. */

import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect as tlsConnect } from "node:tls";
import type { ConnectionOptions, TLSSocket } from "node:tls";
import type { NodeRuntime } from "secure-exec";
import { describe, expect, test } from "vitest";
import { make } from "./support.js";

const pem = (name: string) => readFileSync(new URL(`./tls/${name}.pem`, import.meta.url), "utf8");
const NAMES = ["ca-cert", "server-cert", "server-key", "client-cert", "client-key", "alone-cert", "alone-key", "expired-cert"];
const PKI = `const pki = ${JSON.stringify(Object.fromEntries(NAMES.map((name) => [name, pem(name)])))};`;

/** What a program prints as JSON. */
async function answer(runtime: NodeRuntime, code: string): Promise<unknown> {
  const result = await runtime.exec(`${PKI}\n${code}`);
  expect(result.stderr).toBe("");
  return JSON.parse(result.stdout ?? "");
}

const SERVER = (options: string, handler: string) => `
  ${PKI}
  require("node:https").createServer(${options}, (request, response) => { ${handler} }).listen(8443);
`;

/** A TLS connection of the host's to a guest's server. */
async function secure(runtime: NodeRuntime, options: ConnectionOptions): Promise<TLSSocket> {
  const socket = await runtime.connect(8443);
  const secured = tlsConnect({ socket, servername: "localhost", ca: pem("ca-cert"), ...options });
  await once(secured, "secureConnect");
  return secured;
}

describe("the order of a handshake", () => {
  const listen = (handler: string) => `
    const tls = require("node:tls");
    const told = [];
    const server = tls.createServer({ key: pki["server-key"], cert: pki["server-cert"] }, (socket) => { ${handler} });
    server.on("tlsClientError", (error) => told.push("refused " + error.code)).listen(0, () => client(server.address().port));
  `;

  test("a server whose certificate is refused never has a connection", async () => {
    const runtime = await make();
    const code = `${listen(`told.push("secure")`)}
      function client(port) {
        const socket = tls.connect({ port });
        socket.on("error", (error) => told.push(error.code));
        socket.on("close", () => server.close());
      }
      // The server hears of it later than that it is closed.
      process.on("exit", () => console.log(JSON.stringify(told)));
    `;
    expect(await answer(runtime, code)).toEqual(["UNABLE_TO_VERIFY_LEAF_SIGNATURE", "refused ECONNRESET"]);
  });

  test("a stream that is ended at once, with nothing, ends after the handshake", async () => {
    const runtime = await make();
    const code = `${listen(`socket.on("end", () => told.push("end")); socket.resume().end();`)}
      function client(port) {
        const socket = tls.connect({ port, rejectUnauthorized: false }, () => told.push("secure"));
        socket.on("finish", () => told.push("finish")).on("error", (error) => told.push(error.code)).resume();
        socket.on("close", () => server.close(() => console.log(JSON.stringify(told.filter((what) => what !== "end")))));
        socket.end("");
      }
    `;
    expect(await answer(runtime, code)).toEqual(["secure", "finish"]);
  });
});

describe("a server in the guest", () => {
  test("https and fetch from within", async () => {
    const runtime = await make();
    await runtime.spawn(SERVER(`{ key: pki["server-key"], cert: pki["server-cert"] }`, `response.end("over " + request.socket.getProtocol())`));
    await runtime.waitForListener({ port: 8443 });
    const code = `
      const https = require("node:https");
      https.get({ port: 8443, host: "localhost", ca: pki["ca-cert"] }, async (response) => {
        const { authorized } = response.socket;
        const { subject, issuer, subjectaltname } = response.socket.getPeerCertificate();
        const cipher = response.socket.getCipher().name;
        let text = "";
        for await (const chunk of response) text += chunk;
        console.log(JSON.stringify({ text, authorized, subject, issuer, subjectaltname, cipher }));
      });
    `;
    expect(await answer(runtime, code)).toEqual({
      text: "over TLSv1.3",
      authorized: true,
      subject: { CN: "localhost" },
      issuer: { C: "XX", O: "secure-exec tests", CN: "test authority" },
      subjectaltname: "DNS:localhost, IP Address:127.0.0.1, DNS:*.example.test",
      cipher: "TLS_AES_256_GCM_SHA384",
    });
    const fetched = `
      require("node:tls").setDefaultCACertificates([pki["ca-cert"]]);
      fetch("https://localhost:8443/").then((response) => response.text()).then((text) => console.log(JSON.stringify(text)));
    `;
    expect(await answer(runtime, fetched)).toBe("over TLSv1.3");
  });

  test.each([
    ["an unknown authority", `{ cert: pki["server-cert"], key: pki["server-key"] }`, `{}`, "UNABLE_TO_VERIFY_LEAF_SIGNATURE"],
    ["a certificate that vouches for itself", `{ cert: pki["alone-cert"], key: pki["alone-key"] }`, `{ ca: pki["ca-cert"] }`, "DEPTH_ZERO_SELF_SIGNED_CERT"],
    ["a certificate whose time is over", `{ cert: pki["expired-cert"], key: pki["server-key"] }`, `{ ca: pki["ca-cert"] }`, "CERT_HAS_EXPIRED"],
    ["another host's name", `{ cert: pki["server-cert"], key: pki["server-key"] }`, `{ ca: pki["ca-cert"], servername: "other.test" }`, "ERR_TLS_CERT_ALTNAME_INVALID"],
    ["no version in common", `{ cert: pki["server-cert"], key: pki["server-key"], maxVersion: "TLSv1.2" }`, `{ ca: pki["ca-cert"], minVersion: "TLSv1.3" }`, "ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION"],
  ])("refused: %s", async (_text, server, client, code) => {
    const runtime = await make();
    const program = `
      const tls = require("node:tls");
      const server = tls.createServer(${server}, (socket) => socket.on("error", () => {}).end("secret"));
      server.on("tlsClientError", () => {});
      server.listen(8443, () => {
        const socket = tls.connect({ port: 8443, host: "localhost", ...${client} });
        let read = "";
        socket.on("data", (data) => { read += data; });
        socket.on("error", (error) => { console.log(JSON.stringify({ code: error.code, read })); server.close(); });
        socket.on("secureConnect", () => { if (socket.authorized) { console.log('"let in"'); socket.destroy(); server.close(); } });
      });
    `;
    expect(await answer(runtime, program)).toEqual({ code, read: "" });
  });

  test("the host's node:tls: trust, names, protocols, large bodies both ways", async () => {
    const runtime = await make();
    await runtime.spawn(`${PKI}
      const tls = require("node:tls");
      tls.createServer({ key: pki["server-key"], cert: pki["server-cert"], ALPNProtocols: ["echo/2", "echo/1"] }, (socket) => socket.pipe(socket)).listen(8443);
    `);
    await runtime.waitForListener({ port: 8443 });
    for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
      const socket = await secure(runtime, { minVersion: version, maxVersion: version, ALPNProtocols: ["echo/1", "echo/2"] });
      expect([socket.authorized, socket.getProtocol(), socket.alpnProtocol]).toEqual([true, version, "echo/2"]);
      const sent = Buffer.alloc(3 << 20, `${version} `);
      socket.end(sent);
      const chunks: Buffer[] = [];
      for await (const chunk of socket) chunks.push(chunk as Buffer);
      expect(Buffer.concat(chunks).equals(sent)).toBe(true);
    }
    await expect(secure(runtime, { servername: "other.test" })).rejects.toMatchObject({ code: "ERR_TLS_CERT_ALTNAME_INVALID" });
    await expect(secure(runtime, { ca: [] })).rejects.toMatchObject({ code: "UNABLE_TO_VERIFY_LEAF_SIGNATURE" });
  });

  test("clients with certificates", async () => {
    const runtime = await make();
    await runtime.spawn(
      SERVER(
        `{ key: pki["server-key"], cert: pki["server-cert"], ca: pki["ca-cert"], requestCert: true, rejectUnauthorized: false }`,
        `response.end(JSON.stringify([request.socket.authorized, request.socket.authorizationError, request.socket.getPeerCertificate().subject]))`,
      ),
    );
    await runtime.waitForListener({ port: 8443 });
    const ask = (credentials: string) => `
      require("node:https").get({ port: 8443, host: "localhost", ca: pki["ca-cert"], ...${credentials} }, (response) => response.pipe(process.stdout));
    `;
    expect(await answer(runtime, ask(`{ key: pki["client-key"], cert: pki["client-cert"] }`))).toEqual([true, null, { CN: "a client" }]);
    expect(await answer(runtime, ask(`{ key: pki["alone-key"], cert: pki["alone-cert"] }`))).toEqual([false, "DEPTH_ZERO_SELF_SIGNED_CERT", { CN: "localhost" }]);
    expect(await answer(runtime, ask(`{}`))).toEqual([false, "UNABLE_TO_GET_ISSUER_CERT", null]);
  });

  test("names choose certificates, sessions go on, streams of JavaScript carry it", async () => {
    const runtime = await make();
    const program = `
      const tls = require("node:tls");
      const { duplexPair } = require("node:stream");
      const server = tls.createServer({ key: pki["alone-key"], cert: pki["alone-cert"] }, (socket) => socket.end("hello"));
      server.addContext("*.example.test", { key: pki["server-key"], cert: pki["server-cert"] });
      server.listen(8443, () => {
        const connect = (options) => new Promise((resolve, reject) => {
          const socket = tls.connect({ port: 8443, host: "localhost", servername: "a.example.test", ca: pki["ca-cert"], ...options });
          let session;
          socket.on("session", (given) => { session = given; });
          socket.on("error", reject).on("close", () => resolve({ session, reused }));
          let reused;
          socket.on("secureConnect", () => { reused = socket.isSessionReused(); }).resume();
        });
        (async () => {
          const first = await connect();
          const second = await connect({ session: first.session });
          const [one, other] = duplexPair();
          new tls.TLSSocket(other, { isServer: true, key: pki["server-key"], cert: pki["server-cert"] }).end("through a pair");
          const inner = tls.connect({ socket: one, servername: "localhost", ca: pki["ca-cert"] });
          let text = "";
          for await (const chunk of inner) text += chunk;
          console.log(JSON.stringify([first.reused, second.reused, text]));
          server.close();
        })();
      });
    `;
    expect(await answer(runtime, program)).toEqual([false, true, "through a pair"]);
  });
});

test("X509Certificate", async () => {
  const runtime = await make();
  const program = `
    const { X509Certificate, createPrivateKey } = require("node:crypto");
    const server = new X509Certificate(pki["server-cert"]);
    const ca = new X509Certificate(pki["ca-cert"]);
    console.log(JSON.stringify([
      server.subject, server.issuer, server.subjectAltName, server.infoAccess, server.serialNumber, server.ca, ca.ca,
      server.checkHost("a.example.test"), server.checkHost("a.b.example.test"), server.checkIP("127.0.0.1"), server.checkIssued(ca),
      server.verify(ca.publicKey), server.verify(server.publicKey), server.checkPrivateKey(createPrivateKey(pki["server-key"])),
      server.toString() === pki["server-cert"], new X509Certificate(pki["expired-cert"]).validTo,
    ]));
  `;
  expect(await answer(runtime, program)).toEqual([
    "CN=localhost", "C=XX\nO=secure-exec tests\nCN=test authority", "DNS:localhost, IP Address:127.0.0.1, DNS:*.example.test",
    "OCSP - URI:http://ocsp.example.test/", "1001", false, true, "*.example.test", null, "127.0.0.1", true,
    true, false, true, true, "Jan  1 00:00:00 2021 GMT",
  ]);
});

test("keys and certificates from PFX", async () => {
  const pfx = (name: string) => readFileSync(new URL(`./tls/${name}.pfx`, import.meta.url), "base64");
  const runtime = await make();
  const code = `
    const tls = require("node:tls");
    const pfx = ${JSON.stringify({ server: pfx("server"), old: pfx("server-3des"), rc2: pfx("server-rc2") })};
    const bytes = (name) => Buffer.from(pfx[name], "base64");
    const results = [];
    const secured = (options) => new Promise((resolve) => {
      const server = tls.createServer(options, (socket) => socket.end()).listen(0, () => {
        const socket = tls.connect({ port: server.address().port, servername: "localhost", ca: pki["ca-cert"] }, () => {
          resolve([socket.authorized, socket.getPeerCertificate(true).issuerCertificate.subject.CN]);
          socket.end();
          server.close();
        });
      });
    });
    const refused = (name, passphrase) => {
      try { tls.createSecureContext({ pfx: name === "none" ? Buffer.from("no pfx") : bytes(name), passphrase }); }
      catch (error) { results.push([error.code, error.message]); }
    };
    (async () => {
      results.push(await secured({ pfx: bytes("server"), passphrase: "secret" }));
      results.push(await secured({ pfx: [{ buf: bytes("old"), passphrase: "" }] }));
      refused("server", "other");
      refused("rc2", "secret");
      refused("none");
      console.log(JSON.stringify(results));
    })();`;
  expect(await answer(runtime, code)).toEqual([
    [true, "test authority"],
    [true, "test authority"],
    ["ERR_CRYPTO_OPERATION_FAILED", "mac verify failure"],
    ["ERR_CRYPTO_UNSUPPORTED_OPERATION", "Unsupported PKCS12 PFX data"],
    ["ERR_CRYPTO_OPERATION_FAILED", "not enough data"],
  ]);
});

test("roots that are none, and keys without their passphrase, are refused as OpenSSL words it", async () => {
  const runtime = await make();
  const code = `
    const tls = require("node:tls");
    const { generateKeyPairSync } = require("node:crypto");
    const before = tls.getCACertificates("default").length;
    const codes = [];
    const broken = "-----BEGIN CERTIFICATE-----\\nno certificate\\n-----END CERTIFICATE-----";
    for (const roots of [["no certificate"], [pki["ca-cert"], broken]]) {
      try { tls.setDefaultCACertificates(roots); } catch (error) { codes.push(error.code); }
    }
    const { privateKey } = generateKeyPairSync("ec", {
      namedCurve: "P-256",
      privateKeyEncoding: { type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "secret" },
    });
    try { tls.createSecureContext({ key: privateKey }); } catch (error) { codes.push(error.message); }
    const { context } = tls.createSecureContext();
    try { ({ __proto__: context })._external; } catch (error) { codes.push(error.name); }
    codes.push(require("node:util").types.isExternal(context._external), tls.getCACertificates("default").length === before);
    console.log(JSON.stringify(codes));`;
  expect(await answer(runtime, code)).toEqual([
    "ERR_CRYPTO_OPERATION_FAILED",
    "ERR_OSSL_PEM_ASN1_LIB",
    expect.stringContaining("bad decrypt"),
    "TypeError",
    true,
    true,
  ]);
});

test("a PFX that asks for endless hashing ends at the CPU limit", async () => {
  const runtime = await make({ cpuTimeLimitMs: 500 });
  const code = `
    const bytes = Buffer.from(${JSON.stringify(readFileSync(new URL("./tls/server.pfx", import.meta.url), "base64"))}, "base64");
    // The last number of the file is how often the MAC's key is hashed.
    const at = bytes.length - 4;
    if (bytes.subarray(at).toString("hex") !== "02020800") throw new Error("another file");
    const more = Buffer.concat([bytes.subarray(0, at), Buffer.from("02047fffffff", "hex")]);
    // Three lengths around it grow by two.
    more.writeUInt16BE(more.readUInt16BE(2) + 2, 2);
    const mac = more.length - 6 - 63;
    for (let index = mac - 4; index < mac + 4; index++) if (more[index] === 0x30 && more[index + 1] === 0x41) more[index + 1] += 2;
    try { require("node:tls").createSecureContext({ pfx: more, passphrase: "secret" }); } catch (error) { console.log(error.message); }
  `;
  const result = await runtime.exec(code);
  expect(result.stdout).toBe("");
  expect(result.reason).toBe("cpu");
});
