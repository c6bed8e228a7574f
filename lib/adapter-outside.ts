/**
 * What is outside of a VM whose embedder gave a network adapter: the far end of each connection that a guest opens there.
 * HTTP is read by the host's Node, judged by `permissions.network`, and performed by the adapter.
 */

import { STATUS_CODES, createServer } from "node:http";
import type { IncomingMessage, OutgoingHttpHeaders, Server, ServerResponse } from "node:http";
import { isIP } from "node:net";
import { SecureExecError } from "./errors.js";
import type { GuestConnection } from "./guest-connection.js";
import type { GuestNetwork, GuestOutside } from "./guest-network.js";
import { isText } from "./outward-http.js";
import type { NetworkAdapter, NetworkHttpResponse } from "./types.js";

/** How long a connection stays without a request, as with Node's servers. */
const IDLE_MS = 5_000;
/** Requests of one connection that may wait for those before them. */
const MAX_PIPELINED = 32;
/** Requests that are performed at a time; those whose guest has gone count until the adapter is done. */
const MAX_RUNNING = 4096;
/** Bodies that are held for guests at a time, in bodies of the greatest length. */
const HELD_BODIES = 4;
/** Headers that are about a connection or about how a body is sent on it; both are the adapter's own affair. */
const OF_CONNECTION = new Set([
  "accept-encoding",
  "connection",
  "content-encoding",
  "content-length",
  "expect",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "x-body-encoding",
]);
/** What clients of the Fetch standard send, and no other. */
const MARK_OF_FETCH = "sec-fetch-mode";
/** Codes of `dns` that `getaddrinfo` calls otherwise. */
const NAME_ERRORS: Readonly<Record<string, string>> = { ENOTFOUND: "EAI_NONAME", ENODATA: "EAI_NODATA", ETIMEOUT: "EAI_AGAIN", ESERVFAIL: "EAI_AGAIN" };

interface Target {
  url: URL;
  hostname: string;
  port: number;
  /** What a client asked for that is not what it is connected to. */
  host: string | undefined;
}

/** Counts bytes of a body that is held; throws when there are too many. */
type Hold = (bytes: number) => void;

/** Requests of one connection, which are performed one after the other. */
interface Queue {
  last: Promise<void>;
  waiting: number;
}

/** See the module's text. */
export class AdapterOutside implements GuestOutside {
  readonly #network: GuestNetwork;
  readonly #adapter: NetworkAdapter;
  readonly #maxBodyBytes: number;
  readonly #server: Server;
  readonly #queues = new WeakMap<GuestConnection, Queue>();
  /** Bytes of bodies that are held. */
  #held = 0;
  #running = 0;

  constructor(network: GuestNetwork, adapter: NetworkAdapter, maxBodyBytes: number) {
    this.#network = network;
    this.#adapter = adapter;
    this.#maxBodyBytes = maxBodyBytes;
    // It listens on nothing. How long things may take is the guest's affair, whose connection it is; one that is not used
    // is closed, since a guest that does not read a response to its end would wait for that.
    this.#server = createServer({ keepAliveTimeout: IDLE_MS, headersTimeout: 0, requestTimeout: 0 });
    this.#server.timeout = 0;
    this.#server
      .on("request", (request, response) => this.#enqueue(request, response))
      .on("connect", (_request, connection) => (connection as unknown as GuestConnection).fail("EPROTO"))
      .on("clientError", (_error, connection) => (connection as unknown as GuestConnection).fail("EPROTO"));
  }

  connected(connection: GuestConnection): void {
    connection.on("error", () => {});
    this.#server.emit("connection", connection);
  }

  async lookup(name: string): Promise<{ address?: string; error?: string }> {
    try {
      const found = await this.#adapter.dnsLookup(name);
      if ("address" in found && isIP(found.address) !== 0) return { address: found.address };
      return { error: nameError((found as { code?: unknown }).code) };
    } catch (error) {
      return { error: nameError(codeOf(error)) };
    }
  }

  #enqueue(request: IncomingMessage, response: ServerResponse): void {
    const connection = request.socket as unknown as GuestConnection;
    let queue = this.#queues.get(connection);
    if (queue === undefined) this.#queues.set(connection, (queue = { last: Promise.resolve(), waiting: 0 }));
    if (queue.waiting >= MAX_PIPELINED) {
      connection.fail("ENOBUFS");
      return;
    }
    const own = queue;
    own.waiting += 1;
    own.last = own.last.then(async () => {
      if (!connection.destroyed) await this.#serve(connection, request, response);
      own.waiting -= 1;
    });
  }

  /** Performs a request. Never rejects. */
  async #serve(connection: GuestConnection, request: IncomingMessage, response: ServerResponse): Promise<void> {
    let held = 0;
    let users = 2;
    // Bodies are held while the adapter works with them, and while they are sent.
    const leave = (): void => {
      users -= 1;
      if (users === 0) this.#held -= held;
    };
    const sent = (): void => {
      response.off("close", sent);
      connection.off("close", sent);
      leave();
    };
    response.once("close", sent);
    connection.once("close", sent);
    const hold: Hold = (bytes) => {
      if (this.#held + bytes > HELD_BODIES * this.#maxBodyBytes) throw new SecureExecError("ENOBUFS", "too many bodies at a time");
      held += bytes;
      this.#held += bytes;
    };
    this.#running += 1;
    try {
      if (this.#running > MAX_RUNNING) throw new SecureExecError("ENOBUFS", "too many requests at a time");
      await this.#perform(connection, request, response, hold);
    } catch (error) {
      // What the guest's client hears of is a connection that failed, as it would without an adapter.
      connection.fail(codeOf(error) ?? "ECONNRESET");
    } finally {
      this.#running -= 1;
      leave();
    }
  }

  async #perform(connection: GuestConnection, request: IncomingMessage, response: ServerResponse, hold: Hold): Promise<void> {
    const { url, hostname, port, host } = this.#target(connection, request);
    const method = request.method ?? "GET";
    const op = request.headers[MARK_OF_FETCH] === undefined ? "http" : "fetch";
    await this.#network.mayRequest({ op, hostname, port, url: url.href, method, isInternal: false });
    if (request.headers.upgrade?.toLowerCase() === "websocket") {
      answerText(response, 501, "the network adapter of this runtime has no WebSockets\n");
      return;
    }
    const body = await this.#receive(request, hold);
    if (connection.destroyed) return;
    const headers = requestHeaders(request, host);
    const init = { method, headers, body: body === undefined ? null : isText(body) ? body.toString() : body };
    const answer = await (op === "fetch" ? this.#adapter.fetch(url.href, init) : this.#adapter.httpRequest(url.href, init));
    if (connection.destroyed) return;
    this.#send(answer, method, response, hold);
  }

  /** What a request means: where its connection leads, and nowhere else. */
  #target(connection: GuestConnection, request: IncomingMessage): Target {
    const { guestTarget } = connection;
    const { address, port } = guestTarget;
    const tls = connection.plainTls;
    const scheme = tls === null ? "http" : "https";
    const asked = hostnameOf(request.headers.host) ?? hostnameOf(tls ?? undefined) ?? "";
    const hostname = this.#network.meantHost(guestTarget, asked);
    if (hostname === undefined) throw new SecureExecError("ECONNREFUSED", `no guest may reach ${address}`);
    const origin = `${scheme}://${isIP(hostname) === 6 ? `[${hostname}]` : hostname}:${port}`;
    const given = request.url ?? "";
    const whole = given.startsWith("/") ? origin + given : given;
    // `OPTIONS *` and what is meant for a proxy have no place at the server that the guest is connected to.
    if (!URL.canParse(whole) || new URL(whole).origin !== new URL(origin).origin) {
      throw new SecureExecError("EPROTO", `${given} is not at ${origin}`);
    }
    const url = new URL(whole);
    // Some names are addresses to a URL, such as `0x7f.1`: they were judged as names, and lead nowhere.
    if (isIP(hostname) === 0 && url.hostname !== hostname) throw new SecureExecError("EACCES", `${hostname} is not a name`);
    url.username = url.password = url.hash = "";
    return { url, hostname, port, host: asked === "" || asked === hostname ? undefined : request.headers.host };
  }

  #mayBe(length: number): void {
    if (length <= this.#maxBodyBytes) return;
    throw new SecureExecError("EMSGSIZE", `the body is longer than ${this.#maxBodyBytes} bytes`);
  }

  async #receive(request: IncomingMessage, hold: Hold): Promise<Buffer | undefined> {
    const chunks: Buffer[] = [];
    let length = 0;
    for await (const chunk of request as AsyncIterable<Buffer>) {
      length += chunk.length;
      this.#mayBe(length);
      hold(chunk.length);
      chunks.push(chunk);
    }
    const { "content-length": known, "transfer-encoding": coded } = request.headers;
    return known === undefined && coded === undefined ? undefined : Buffer.concat(chunks, length);
  }

  #send(answer: NetworkHttpResponse, method: string, response: ServerResponse, hold: Hold): void {
    const { status, statusText, headers, body } = readAnswer(answer);
    this.#mayBe(body.length);
    hold(body.length);
    const { "content-length": announced, ...others } = headers;
    const length = method === "HEAD" ? announced : String(body.length);
    const hasBody = status !== 204 && status !== 304;
    response.sendDate = false;
    response.writeHead(status, statusText, hasBody && length !== undefined ? { ...others, "content-length": length } : others);
    response.end(hasBody && method !== "HEAD" ? body : undefined);
  }
}

/** Of a name with or without a port. */
function hostnameOf(host: string | undefined): string | undefined {
  if (host === undefined || host === "") return undefined;
  const url = `http://${host}/`;
  return URL.canParse(url) ? new URL(url).hostname.replace(/^\[|\]$|\.$/g, "") : undefined;
}

function requestHeaders(request: IncomingMessage, host: string | undefined): Record<string, string> {
  const dropped = new Set((request.headers.connection ?? "").split(",").map((name) => name.trim().toLowerCase()));
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(request.headers)) {
    if (value === undefined || name === "host" || name === MARK_OF_FETCH) continue;
    if (OF_CONNECTION.has(name) || dropped.has(name)) continue;
    headers[name] = Array.isArray(value) ? value.join(", ") : value;
  }
  if (host !== undefined) headers["host"] = host;
  return headers;
}

interface Answer {
  status: number;
  statusText: string;
  headers: OutgoingHttpHeaders & { "content-length"?: string };
  body: Buffer;
}

/** What an adapter answered, which may be anything. */
function readAnswer(answer: unknown): Answer {
  const wrong = (what: string): SecureExecError => new SecureExecError("EPROTO", `the network adapter answered ${what}`);
  if (typeof answer !== "object" || answer === null) throw wrong("nothing");
  const { status, statusText, headers, body } = answer as Record<string, unknown>;
  if (typeof status !== "number" || !Number.isInteger(status) || status < 200 || status > 999) throw wrong("a status that is none");
  if (typeof headers !== "object" || headers === null) throw wrong("without headers");
  const list: Answer["headers"] = {};
  let isBase64 = false;
  for (const [given, value] of Object.entries(headers)) {
    const name = given.toLowerCase();
    const text = Array.isArray(value) ? value.map(String) : String(value);
    if (name === "x-body-encoding") isBase64 = text === "base64";
    else if (name === "content-length") list["content-length"] = String(text);
    else if (!OF_CONNECTION.has(name)) list[name] = text;
  }
  let bytes: Buffer;
  if (typeof body === "string") bytes = Buffer.from(body, isBase64 ? "base64" : "utf8");
  else if (body instanceof Uint8Array) bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  else if (body === undefined || body === null) bytes = Buffer.alloc(0);
  else throw wrong("a body that is neither text nor bytes");
  return { status, statusText: typeof statusText === "string" ? statusText : (STATUS_CODES[status] ?? ""), headers: list, body: bytes };
}

function answerText(response: ServerResponse, status: number, text: string): void {
  response.sendDate = false;
  response.writeHead(status, { "content-type": "text/plain", "content-length": String(text.length), connection: "close" });
  response.end(text);
}

/** The code of an error, or of what caused it: the host's `fetch` tells it so. */
function codeOf(error: unknown): string | undefined {
  try {
    const { code, cause } = error as { code?: unknown; cause?: { code?: unknown } };
    const found = typeof code === "string" ? code : cause?.code;
    return typeof found === "string" ? found : undefined;
  } catch {
    return undefined;
  }
}

function nameError(code: unknown): string {
  return typeof code === "string" ? (NAME_ERRORS[code] ?? code) : "EAI_NONAME";
}
