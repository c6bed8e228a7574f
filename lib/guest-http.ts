/** HTTP/1.1 from the host to a guest's server, with Node's own client over the kernel's connections. */

import { Agent, request as httpRequest } from "node:http";
import type { ClientRequest, ClientRequestArgs, IncomingMessage } from "node:http";
import { finished, pipeline } from "node:stream";
import type { Duplex } from "node:stream";
import { SecureExecError, disposedError } from "./errors.js";
import { GuestConnection } from "./guest-connection.js";
import type { GuestNetwork } from "./guest-network.js";
import { GuestResponse } from "./guest-response.js";
import type { RequestSettings } from "./options.js";

/** Methods that a guest may be asked twice when a kept connection turns out to be closed. */
const REPEATABLE = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"]);
/** Responses of this type go on for ever: nobody could wait for their end. */
const EVENT_STREAM = /^text\/event-stream\b/i;

/** A guest may announce a body that never comes: more memory than this is taken as its bytes come. */
const FIRST_BYTES = 4 * 1024 * 1024;

type Created = (error: Error | null, socket: Duplex) => void;

/** Keeps connections to guests' servers between requests. */
class GuestAgent extends Agent {
  readonly #network: GuestNetwork;

  constructor(network: GuestNetwork) {
    super({ keepAlive: true, scheduling: "lifo" });
    this.#network = network;
  }

  override createConnection(options: ClientRequestArgs, created: Created): Duplex | undefined {
    const port = Number(options.port);
    const connection = this.#network.tryConnect(port);
    if (connection !== undefined) return connection;
    this.#network.connect(port).then(
      (late) => created(null, late),
      (error: Error) => created(error, undefined as never),
    );
    return undefined;
  }
}

/** The HTTP client of one runtime. */
export class GuestHttp {
  readonly #network: GuestNetwork;
  readonly #agent: GuestAgent;
  readonly #maxBodyBytes: number;

  constructor(network: GuestNetwork, maxBodyBytes: number) {
    this.#network = network;
    this.#agent = new GuestAgent(network);
    this.#maxBodyBytes = maxBodyBytes;
  }

  /** Sends one request. */
  async fetch(port: number, settings: RequestSettings): Promise<GuestResponse> {
    if (this.#network.closed) throw disposedError("the runtime");
    settings.signal?.throwIfAborted();
    try {
      return await this.#exchange(port, settings, true);
    } catch (error) {
      if (!(error instanceof Stale)) throw error;
      return this.#exchange(port, settings, false);
    }
  }

  /** Closes kept connections. */
  close(): void {
    this.#agent.destroy();
  }

  #exchange(port: number, settings: RequestSettings, mayRepeat: boolean): Promise<GuestResponse> {
    const { method, path, headers, signal, timeoutMs, body } = settings;
    return new Promise((resolve, reject) => {
      const request = httpRequest({
        agent: this.#agent,
        host: "localhost",
        port,
        method,
        path,
        headers,
      } as ClientRequestArgs);
      /** Why we gave up; it counts for more than what the connection says of it. */
      let given: Error | undefined;
      const giveUp = (error: Error): void => {
        given ??= error;
        request.destroy(error);
      };
      const abort = (): void => giveUp(signal?.reason as Error);
      const timer = setTimeout(() => {
        giveUp(new SecureExecError("ETIMEDOUT", `the guest's server on port ${port} gave no answer within ${timeoutMs} ms`));
      }, timeoutMs);
      const release = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
      };
      const explain = (error: Error): Error =>
        given ?? (this.#network.closed ? disposedError("the runtime") : responseError(error, port));
      const fail = (error: Error): void => {
        release();
        reject(explain(error));
      };
      signal?.addEventListener("abort", abort, { once: true });
      request.on("error", (error: NodeJS.ErrnoException) => {
        const stale = error.code === "ECONNRESET" && request.reusedSocket && given === undefined;
        const again = mayRepeat && stale && !isStream(body) && REPEATABLE.has(method);
        if (!again) return fail(error);
        release();
        reject(new Stale());
      });
      request.on("upgrade", (_response, socket) => {
        // The socket is no longer the request's: nobody would hear of an error.
        socket.destroy();
        fail(new SecureExecError("ERR_HTTP_UPGRADED", "the guest's server switched protocols; use connect() for that"));
      });
      request.on("response", (response) => {
        const streams = settings.stream || EVENT_STREAM.test(response.headers["content-type"] ?? "");
        if (streams) {
          clearTimeout(timer);
          finished(response, release);
          resolve(GuestResponse.streamed(response, explain));
          return;
        }
        collect(response, method, this.#maxBodyBytes, giveUp).then((bytes) => {
          release();
          resolve(GuestResponse.buffered(response, bytes));
        }, fail);
      });
      send(request, body, {
        progressed: () => timer.refresh(),
        failed: (error) => {
          giveUp(error);
          fail(error);
        },
      });
    });
  }
}

/** A kept connection was closed by the guest before it could have seen the request. */
class Stale extends Error {}

function isStream(body: RequestSettings["body"]): body is AsyncIterable<string | Uint8Array> {
  return typeof body === "object" && Symbol.asyncIterator in body;
}

/** Who hears of a streamed body. */
interface Upload {
  /** A part was read. */
  progressed: () => void;
  /** It cannot be read further. */
  failed: (error: Error) => void;
}

function send(request: ClientRequest, body: RequestSettings["body"], upload: Upload): void {
  const begin = (): void => {
    if (!isStream(body)) {
      request.end(body);
      return;
    }
    const reported = async function* (): AsyncGenerator<string | Uint8Array> {
      try {
        for await (const chunk of body) {
          upload.progressed();
          yield chunk;
        }
      } catch (error) {
        upload.failed(error as Error);
        throw error;
      }
    };
    // What goes wrong with the request is told by its own events.
    pipeline(reported, request, () => {});
  };
  if (String(request.getHeader("expect") ?? "").toLowerCase() !== "100-continue") {
    begin();
    return;
  }
  request.once("continue", begin);
  request.once("response", () => {
    // The server decided without the body.
    request.off("continue", begin);
    if (!request.writableEnded) request.end();
  });
  request.flushHeaders();
}

/** The whole body, unless it is too long. */
function collect(
  response: IncomingMessage,
  method: string,
  maxBytes: number,
  giveUp: (error: Error) => void,
): Promise<Buffer> {
  const tooLarge = (used: number): SecureExecError =>
    new SecureExecError(
      "ERR_HTTP_BODY_TOO_LARGE",
      `the body of the guest's response is larger than ${maxBytes} bytes; read it with stream: true, or raise ` +
        "resourceBudgets.maxHttpBodyBytes",
      { limit: "maxHttpBodyBytes", configured: maxBytes, used, option: "resourceBudgets.maxHttpBodyBytes" },
    );
  const announced = Number(response.headers["content-length"] ?? 0);
  if (method !== "HEAD" && announced > maxBytes) giveUp(tooLarge(announced));
  // The answer to HEAD announces a body that it does not have.
  const expected = method === "HEAD" || !Number.isSafeInteger(announced) ? 0 : Math.max(0, Math.min(announced, FIRST_BYTES, maxBytes));
  const body = new Body(expected, maxBytes);
  const { socket } = response;
  const connection = socket instanceof GuestConnection ? socket : undefined;
  response.on("data", (chunk: Buffer) => {
    const bytes = body.length + chunk.length;
    if (bytes > maxBytes) giveUp(tooLarge(bytes));
    else body.append(chunk);
  });
  connection?.lend(() => response.readableLength === 0);
  return new Promise((resolve, reject) => {
    finished(response, (error) => {
      connection?.lend(undefined);
      if (error != null) reject(error);
      else resolve(body.bytes());
    });
  });
}

/** The bytes of a body as they come, copied into one block. */
class Body {
  length = 0;
  readonly #most: number;
  #block: Buffer;

  /** `most` bounds the block; more than that is not appended. */
  constructor(expected: number, most: number) {
    this.#most = most;
    this.#block = Buffer.allocUnsafeSlow(expected);
  }

  append(chunk: Buffer): void {
    const length = this.length + chunk.length;
    if (length > this.#block.length) this.#resize(Math.max(length, Math.min(this.#most, 2 * this.#block.length)));
    chunk.copy(this.#block, this.length);
    this.length = length;
  }

  bytes(): Buffer {
    if (this.length !== this.#block.length) this.#resize(this.length);
    return this.#block;
  }

  #resize(bytes: number): void {
    const block = Buffer.allocUnsafeSlow(bytes);
    this.#block.copy(block, 0, 0, this.length);
    this.#block = block;
  }
}

/** What went wrong between the host and a guest's server, in words about the guest. */
function responseError(error: Error & { code?: string }, port: number): Error {
  const { code } = error;
  // Ours, or Node's about the caller's own arguments.
  if (error instanceof TypeError || code === undefined) return error;
  if (code === "ECONNRESET" || code === "EPIPE" || code === "ERR_STREAM_PREMATURE_CLOSE") {
    const message = `the guest's server on port ${port} closed the connection before its response was complete`;
    return new SecureExecError("ECONNRESET", message, { cause: error });
  }
  if (code.startsWith("HPE_")) {
    return new SecureExecError(code, `the guest's response is not valid HTTP: ${error.message}`, { cause: error });
  }
  return error;
}
