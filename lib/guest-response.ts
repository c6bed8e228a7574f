/** The response of a guest's server. */

import type { IncomingMessage } from "node:http";
import { SecureExecError } from "./errors.js";

const UTF8 = new TextDecoder();

type Explain = (error: Error) => Error;

/** What a guest's server answered. */
export class GuestResponse {
  readonly status: number;
  readonly statusText: string;
  /** By lower-case name; several of one name are joined by a comma. */
  readonly headers: Readonly<Record<string, string>>;
  /** Names and values in turn, as they came. */
  readonly rawHeaders: readonly string[];
  readonly #message: IncomingMessage;
  readonly #bytes: Buffer | undefined;
  readonly #explain: Explain | undefined;
  #text: string | undefined;
  #streamed = false;

  /** A response whose body is there. @internal */
  static buffered(message: IncomingMessage, bytes: Buffer): GuestResponse {
    return new GuestResponse(message, bytes);
  }

  /** A response whose body is on its way. @internal */
  static streamed(message: IncomingMessage, explain: Explain): GuestResponse {
    // Nobody may read it; what goes wrong then concerns nobody.
    message.on("error", () => {});
    return new GuestResponse(message, undefined, explain);
  }

  private constructor(message: IncomingMessage, bytes: Buffer | undefined, explain?: Explain) {
    this.status = message.statusCode ?? 0;
    this.statusText = message.statusMessage ?? "";
    const headers = message.headers as Record<string, string>;
    const cookies = message.headers["set-cookie"];
    this.headers = cookies === undefined ? headers : { ...headers, "set-cookie": cookies.join(", ") };
    this.rawHeaders = message.rawHeaders;
    this.#message = message;
    this.#bytes = bytes;
    this.#explain = explain;
  }

  /** Whether the status is one of success. */
  get ok(): boolean {
    return this.status >= 200 && this.status < 300;
  }

  /** The body as text, with invalid UTF-8 replaced. */
  get body(): string {
    return (this.#text ??= UTF8.decode(this.bytes()));
  }

  /** The body. */
  bytes(): Uint8Array {
    if (this.#bytes !== undefined) return this.#bytes;
    const message = "the body of this response is not kept: read it with stream()";
    throw new SecureExecError("ERR_HTTP_BODY_STREAMED", message);
  }

  /** The same as {@link GuestResponse.body}. */
  text(): string {
    return this.body;
  }

  /** The body as JSON. */
  json<T = unknown>(): T {
    return JSON.parse(this.body) as T;
  }

  /** What came after the body, by lower-case name; empty until then. */
  get trailers(): Readonly<Record<string, string>> {
    return this.#message.trailers as Record<string, string>;
  }

  /** The body as a stream. A body that is not kept can be read once; the guest waits for whoever reads. */
  stream(): ReadableStream<Uint8Array> {
    const bytes = this.#bytes;
    if (bytes !== undefined) {
      return new ReadableStream<Uint8Array>({
        start(controller) {
          if (bytes.length > 0) controller.enqueue(bytes);
          controller.close();
        },
      });
    }
    if (this.#streamed) {
      throw new SecureExecError("ERR_HTTP_BODY_STREAMED", "the body of this response is being read already");
    }
    this.#streamed = true;
    const message = this.#message;
    const explain = this.#explain;
    const chunks = (message as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]();
    return new ReadableStream<Uint8Array>(
      {
        async pull(controller) {
          try {
            const { done, value } = await chunks.next();
            if (done === true) controller.close();
            else controller.enqueue(value);
          } catch (error) {
            throw explain === undefined ? error : explain(error as Error);
          }
        },
        cancel() {
          message.destroy();
        },
      },
      { highWaterMark: 0 },
    );
  }
}
