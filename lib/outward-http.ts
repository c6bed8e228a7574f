/** `runtime.network`: HTTP and names from the host's side, under the policy of the VM's guests. */

import { request as httpRequest } from "node:http";
import type { ClientRequestArgs, IncomingMessage } from "node:http";
import { isIP } from "node:net";
import type { Duplex } from "node:stream";
import { connect as tlsConnect } from "node:tls";
import { SecureExecError, typeError, valueError } from "./errors.js";
import type { GuestNetwork } from "./guest-network.js";
import type { NativeNetworkRequest } from "./native.js";
import type {
  DnsLookupResult,
  NetworkAdapter,
  NetworkFetchResponse,
  NetworkHttpResponse,
  NetworkRequestInit,
  RuntimeNetwork,
} from "./types.js";

/** As many as browsers follow. */
const MAX_REDIRECTS = 20;
/** How long an exchange may take. */
const TIMEOUT_MS = 30_000;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);
/** Headers that are for one origin only. */
const CREDENTIALS = ["authorization", "cookie", "proxy-authorization", "host"];
/** Headers that speak of a body. */
const OF_BODY = ["content-encoding", "content-language", "content-length", "content-location", "content-type", "transfer-encoding"];

interface Exchange {
  url: URL;
  method: string;
  headers: Record<string, string>;
  body: string | Uint8Array | undefined;
}

/** The adapter that a runtime has unless it is given one: the VM's own way out. */
export class OutwardHttp implements RuntimeNetwork {
  readonly #network: GuestNetwork;
  readonly #maxBodyBytes: number;

  constructor(network: GuestNetwork, maxBodyBytes: number) {
    this.#network = network;
    this.#maxBodyBytes = maxBodyBytes;
  }

  async fetch(url: string, init?: NetworkRequestInit): Promise<NetworkFetchResponse> {
    let exchange = readExchange(url, init);
    for (let redirects = 0; ; redirects++) {
      // Each step is asked for, each address is checked when it is dialled.
      await mayRequest(this.#network, "fetch", exchange);
      const response = await this.#perform(exchange);
      const location = response.headers["location"];
      if (!REDIRECTS.has(response.status) || location === undefined) {
        return { ...response, ok: response.status >= 200 && response.status < 300, redirected: redirects > 0 };
      }
      if (redirects === MAX_REDIRECTS) throw new SecureExecError("ERR_TOO_MANY_REDIRECTS", `more than ${MAX_REDIRECTS} redirects`);
      exchange = redirected(exchange, response.status, location);
    }
  }

  async dnsLookup(hostname: string): Promise<DnsLookupResult> {
    try {
      const [address] = await this.#network.lookup(hostname);
      if (address === undefined) return { error: `no address of ${hostname}`, code: "ENOTFOUND" };
      return { address, family: isIP(address) };
    } catch (error) {
      const { code, message } = error as SecureExecError;
      if (code === "ERR_RUNTIME_DISPOSED") throw error;
      return { error: message, code: code === "EAI_NONAME" ? "ENOTFOUND" : code };
    }
  }

  async httpRequest(url: string, init?: NetworkRequestInit): Promise<NetworkHttpResponse> {
    const exchange = readExchange(url, init);
    await mayRequest(this.#network, "http", exchange);
    return this.#perform(exchange);
  }

  async #perform(exchange: Exchange): Promise<NetworkHttpResponse> {
    const { url, method, headers, body } = exchange;
    const socket = await this.#connect(url);
    try {
      return await new Promise<NetworkHttpResponse>((resolve, reject) => {
        const timer = setTimeout(() => {
          reject(new SecureExecError("ETIMEDOUT", `no whole answer of ${url.origin} within ${TIMEOUT_MS} ms`));
        }, TIMEOUT_MS);
        const done = (error?: Error, response?: NetworkHttpResponse): void => {
          clearTimeout(timer);
          if (response === undefined) reject(error);
          else resolve(response);
        };
        const request = httpRequest({
          createConnection: () => socket,
          method,
          path: url.pathname + url.search,
          setHost: false,
          headers: { host: url.host, "accept-encoding": "identity", ...headers, connection: "close" },
        } as ClientRequestArgs);
        request.on("error", done);
        request.on("upgrade", () => done(new SecureExecError("ERR_HTTP_UPGRADED", "the server switched protocols")));
        request.on("response", (message) => {
          this.#body(message).then(
            (bytes) => done(undefined, { ...head(message, url), ...encode(message, bytes) }),
            done,
          );
        });
        request.end(body);
      });
    } finally {
      socket.destroy();
    }
  }

  async #body(message: IncomingMessage): Promise<Buffer> {
    const chunks: Buffer[] = [];
    let length = 0;
    for await (const chunk of message as AsyncIterable<Buffer>) {
      length += chunk.length;
      if (length > this.#maxBodyBytes) {
        throw new SecureExecError("ERR_HTTP_BODY_TOO_LARGE", `the body is longer than ${this.#maxBodyBytes} bytes`, {
          limit: "maxHttpBodyBytes",
          configured: this.#maxBodyBytes,
          used: length,
          option: "resourceBudgets.maxHttpBodyBytes",
        });
      }
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  }

  /** Resolves once and dials what was found, one address after the other. */
  async #connect(url: URL): Promise<Duplex> {
    const host = hostOf(url);
    const addresses = isIP(host) === 0 ? await this.#network.lookup(host) : [host];
    let failure: unknown = new SecureExecError("ENOTFOUND", `no address of ${host}`);
    for (const address of addresses) {
      try {
        const connection = await this.#network.dial(address, portOf(url));
        return url.protocol === "https:" ? await secured(connection, host) : connection;
      } catch (error) {
        failure = error;
      }
    }
    throw failure;
  }
}

/** An adapter of the embedder's, asked only for what `permissions.network` allows. */
export class GuardedAdapter implements RuntimeNetwork {
  readonly #network: GuestNetwork;
  readonly #adapter: NetworkAdapter;

  constructor(network: GuestNetwork, adapter: NetworkAdapter) {
    this.#network = network;
    this.#adapter = adapter;
  }

  async fetch(url: string, init?: NetworkRequestInit): Promise<NetworkFetchResponse> {
    await mayRequest(this.#network, "fetch", readExchange(url, init));
    return this.#adapter.fetch(url, init ?? {});
  }

  async dnsLookup(hostname: string): Promise<DnsLookupResult> {
    await this.#network.mayRequest({ op: "dns", hostname: String(hostname).toLowerCase(), port: 0, isInternal: false });
    return this.#adapter.dnsLookup(hostname);
  }

  async httpRequest(url: string, init?: NetworkRequestInit): Promise<NetworkHttpResponse> {
    await mayRequest(this.#network, "http", readExchange(url, init));
    return this.#adapter.httpRequest(url, init ?? {});
  }
}

function mayRequest(network: GuestNetwork, op: NativeNetworkRequest["op"], { url, method }: Exchange): Promise<void> {
  const hostname = hostOf(url);
  const isInternal = hostname === "localhost" || hostname === "::1" || /^127\./.test(hostname);
  return network.mayRequest({ op, hostname, port: portOf(url), url: url.href, method, isInternal });
}

function readExchange(url: unknown, init: unknown = {}): Exchange {
  if (typeof url !== "string" || !URL.canParse(url)) throw typeError("url", "an absolute URL", url);
  if (typeof init !== "object" || init === null) throw typeError("init", "an object", init);
  const { method = "GET", headers = {}, body } = init as Record<string, unknown>;
  if (typeof method !== "string") throw typeError("method", "a string", method);
  if (typeof headers !== "object" || headers === null) throw typeError("headers", "an object", headers);
  if (body !== undefined && body !== null && typeof body !== "string" && !(body instanceof Uint8Array)) {
    throw typeError("body", "a string or bytes", body);
  }
  const list = Object.entries(headers as Record<string, unknown>).map(([name, value]) => {
    if (typeof value !== "string") throw typeError(`headers.${name}`, "a string", value);
    return [name.toLowerCase(), value] as const;
  });
  return { url: httpUrl(url), method: method.toUpperCase(), headers: Object.fromEntries(list), body: body ?? undefined };
}

function httpUrl(text: string, base?: URL): URL {
  const url = new URL(text, base);
  if (url.protocol !== "http:" && url.protocol !== "https:") throw valueError("url", "must be of http or https", url.href);
  // What stands before the host is no part of where it leads, and nobody's to send on.
  url.username = "";
  url.password = "";
  url.hash = "";
  return url;
}

/** The next exchange, as the Fetch standard makes it. */
function redirected({ url, method, headers, body }: Exchange, status: number, location: string): Exchange {
  if (!URL.canParse(location, url.href)) throw new SecureExecError("ERR_INVALID_URL", "the redirect leads nowhere");
  const next = httpUrl(location, url);
  const kept = { ...headers };
  const forgets = (status === 303 && method !== "GET" && method !== "HEAD") || ((status === 301 || status === 302) && method === "POST");
  for (const name of [...(forgets ? OF_BODY : []), ...(next.origin === url.origin ? [] : CREDENTIALS)]) delete kept[name];
  return { url: next, method: forgets ? "GET" : method, headers: kept, body: forgets ? undefined : body };
}

const hostOf = (url: URL): string => url.hostname.replace(/^\[|\]$/g, "");
const portOf = (url: URL): number => (url.port !== "" ? Number(url.port) : url.protocol === "https:" ? 443 : 80);

/** TLS by the host's Node, with its roots. */
function secured(connection: Duplex, host: string): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const socket = tlsConnect({ socket: connection, host, rejectUnauthorized: true, ...(isIP(host) === 0 ? { servername: host } : {}) });
    const fail = (error: Error): void => {
      connection.destroy();
      reject(error);
    };
    socket.once("error", fail).once("secureConnect", () => {
      socket.off("error", fail);
      resolve(socket);
    });
  });
}

function head(message: IncomingMessage, url: URL): Omit<NetworkHttpResponse, "body"> {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(message.headers)) {
    if (value !== undefined) headers[name] = Array.isArray(value) ? value.join(", ") : value;
  }
  return { status: message.statusCode ?? 0, statusText: message.statusMessage ?? "", headers, url: url.href };
}

/** Whether bytes are UTF-8. */
export function isText(bytes: Buffer): boolean {
  return Buffer.from(bytes.toString("utf8"), "utf8").equals(bytes);
}

/** Text where it is text; the first generation's way for all else. */
function encode(message: IncomingMessage, bytes: Buffer): Pick<NetworkHttpResponse, "body"> & { headers?: Record<string, string> } {
  if (isText(bytes)) return { body: bytes.toString("utf8") };
  const { headers } = head(message, new URL("http://x/"));
  return { body: bytes.toString("base64"), headers: { ...headers, "x-body-encoding": "base64" } };
}
