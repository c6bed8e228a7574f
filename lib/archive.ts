/** Archives of a VM's files: piece by piece, whole or what changed, and the adapter that keeps them. */

import { SecureExecError, typeError, valueError } from "./errors.js";
import type { FileCalls } from "./file-system.js";
import type { PersistedArchive, PersistenceAdapter } from "./types.js";

/** Which of the runtime's moments each checkpoint is. */
const marks = new WeakMap<Checkpoint, { calls: FileCalls; mark: number }>();

/** A moment in the life of a runtime's files; see `NodeRuntime.checkpoint`. */
export class Checkpoint {
  private constructor() {}

  /** @internal */
  static async take(calls: FileCalls): Promise<Checkpoint> {
    const mark = (await calls.ask("mark", { path: "/" })) as number;
    const checkpoint = new Checkpoint();
    marks.set(checkpoint, { calls, mark });
    return checkpoint;
  }
}

/** What an archive holds. */
export interface ArchiveSettings {
  path: string;
  times: boolean;
  maxBytes: number;
  since: Checkpoint | undefined;
}

/** The archive as the addon is asked for it. */
export function archiveRequest(calls: FileCalls, { path, times, maxBytes, since }: ArchiveSettings): Record<string, unknown> {
  const request = { path, times, limit: maxBytes };
  return since === undefined ? request : { ...request, since: markOf(calls, since) };
}

function markOf(calls: FileCalls, since: Checkpoint): number {
  const known = marks.get(since);
  if (known?.calls !== calls) throw valueError("since", "must be a checkpoint of this runtime", since);
  return known.mark;
}

/** An archive that is written while it is read. What was not read when it is cancelled is not written. */
export function archiveStream(calls: FileCalls, settings: ArchiveSettings): ReadableStream<Uint8Array> {
  const request = archiveRequest(calls, settings);
  let number: number | undefined;
  const close = async (): Promise<void> => {
    if (number !== undefined) await calls.ask("archiveClose", { path: "/", number });
  };
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        number ??= (await calls.ask("archiveOpen", request)) as number;
        const piece = (await calls.ask("archiveRead", { path: "/", number })) as Uint8Array | undefined | null;
        if (piece instanceof Uint8Array) controller.enqueue(piece);
        else controller.close();
      },
      cancel: close,
    },
    { highWaterMark: 0 },
  );
}

/** What a runtime keeps of its adapter. */
export interface PersistenceSettings {
  load: PersistenceAdapter["load"];
  save: PersistenceAdapter["save"];
  maxBytes: number;
  times: boolean;
}

/** Reads what an adapter has, as far as it may. */
export async function loadArchive({ load, maxBytes }: PersistenceSettings): Promise<Uint8Array | undefined> {
  let given: PersistedArchive;
  try {
    given = await load();
    if (given === null || given === undefined) return undefined;
    return await collect(given, maxBytes);
  } catch (error) {
    if (error instanceof SecureExecError || (error as { code?: unknown } | null)?.code === "ERR_INVALID_ARG_TYPE") throw error;
    throw failed("load", error);
  }
}

/** How much the headers of an archive may add to what its files hold. */
const ARCHIVE_OVERHEAD = 2;

async function collect(given: NonNullable<PersistedArchive>, maxBytes: number): Promise<Uint8Array> {
  const max = maxBytes * ARCHIVE_OVERHEAD;
  const check = (size: number): void => {
    if (size <= max) return;
    const message = `persistence.load gave more than ${max} bytes; persistence.maxBytes is ${maxBytes}`;
    const details = { limit: "archive size", configured: maxBytes, used: size, option: "persistence.maxBytes" };
    throw new SecureExecError("ERR_SANDBOX_PAYLOAD_TOO_LARGE", message, details);
  };
  if (given instanceof Uint8Array) {
    check(given.byteLength);
    return given;
  }
  if (typeof given !== "object" || !(Symbol.asyncIterator in given)) {
    throw typeError("persistence.load's result", "a Uint8Array, a stream of them or null", given);
  }
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of given) {
    if (!(piece instanceof Uint8Array)) throw typeError("persistence.load's stream", "pieces that are Uint8Arrays", piece);
    size += piece.byteLength;
    check(size);
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

/** Keeps a runtime's files through its adapter: one save at a time, and none when nothing changed since the last. */
export class Persistence {
  readonly #settings: PersistenceSettings;
  readonly #calls: FileCalls;
  #saved: Checkpoint | undefined;
  #last: Promise<void> = Promise.resolve();

  constructor(settings: PersistenceSettings, calls: FileCalls) {
    this.#settings = settings;
    this.#calls = calls;
  }

  /** What the adapter has is what the runtime has. */
  async markSaved(): Promise<void> {
    this.#saved = await Checkpoint.take(this.#calls);
  }

  /** Saves, after what is being saved. Rejects with `ERR_PERSISTENCE_FAILED` when the adapter or the archive fails. */
  save(): Promise<void> {
    const saving = this.#last.then(() => this.#saveNow());
    this.#last = saving.catch(() => {});
    return saving;
  }

  async #saveNow(): Promise<void> {
    const calls = this.#calls;
    if (this.#saved !== undefined && (await calls.ask("hasChanged", { path: "/", since: markOf(calls, this.#saved) })) !== true) return;
    // What changes while it is written is in the next save at the latest.
    const checkpoint = await Checkpoint.take(calls);
    const { save, maxBytes, times } = this.#settings;
    const { stream, done } = watched(archiveStream(calls, { path: "/", times, maxBytes, since: undefined }));
    try {
      await save(stream);
      done();
    } catch (error) {
      throw failed("save", error);
    } finally {
      if (!stream.locked) await stream.cancel().catch(() => {});
    }
    this.#saved = checkpoint;
  }
}

/** A stream of which `done` says whether it was read to its end: an adapter that was not told of an error lost files. */
function watched(source: ReadableStream<Uint8Array>): { stream: ReadableStream<Uint8Array>; done(): void } {
  const reader = source.getReader();
  let ended = false;
  let failure: unknown;
  const stream = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { value, done } = await reader.read();
          if (!done) return controller.enqueue(value);
          ended = true;
          controller.close();
        } catch (error) {
          failure = error;
          throw error;
        }
      },
      cancel: (reason) => reader.cancel(reason),
    },
    { highWaterMark: 0 },
  );
  const done = (): void => {
    if (failure !== undefined) throw failure;
    if (!ended) throw new Error("persistence.save resolved before it had read the archive to its end");
  };
  return { stream, done };
}

function failed(what: "load" | "save", cause: unknown): SecureExecError {
  const text = cause instanceof Error ? cause.message : String(cause);
  return new SecureExecError("ERR_PERSISTENCE_FAILED", `persistence.${what} failed: ${text}`, { cause });
}
