/** Answers what guests ask of the host's JavaScript. Whatever goes wrong here is an answer too. */

import { SecureExecError } from "./errors.js";
import { HostCallKind } from "./native.js";
import type { NativeHostError, NativeVm } from "./native.js";
import type { CommandQuestion, HostCommands } from "./host-commands.js";
import type { HostFunctionTable } from "./host-functions.js";
import type { PermissionCallbacks } from "./permissions.js";
import { callFileSystem } from "./virtual-file-system.js";
import type { HostWatches } from "./virtual-file-system.js";
import type { LimitWarning, VirtualFileSystem, WatchEvent } from "./types.js";
import { isTurnOver, turn } from "./turns.js";
import { decode, decodeInTurns, encode, isSmall } from "./values.js";
import type { ValueLimits } from "./values.js";

/** Longest message of a host's error that a guest sees. */
const MAX_MESSAGE = 8192;

/** Who answers. */
export interface HostParts {
  permissions: PermissionCallbacks;
  functions: HostFunctionTable;
  commands: HostCommands | undefined;
  onLimitWarning: ((warning: LimitWarning) => void) | undefined;
  limits: ValueLimits;
}

/** File systems of the host by number. */
type FileSystems = (number: number) => VirtualFileSystem | undefined;

/** What questions are answered with. */
export interface HostAnswers {
  fileSystems: FileSystems;
  /** What file systems of the host watch for guests. */
  watches: HostWatches;
  /** Takes what the host itself watches. */
  onWatchEvent: (number: number, event: WatchEvent) => void;
}

/** One question of a guest. */
interface Question {
  id: number;
  kind: number;
  target: string;
  payload: Uint8Array;
}

/** Takes the questions of one VM. They begin in the order in which they come, as many a turn as there is time for. */
export class HostInbox {
  readonly #parts: HostParts;
  readonly #answers: HostAnswers;
  readonly #vm: NativeVm;
  readonly #waiting: Question[] = [];
  #drains = false;

  constructor(parts: HostParts, answers: HostAnswers, vm: NativeVm) {
    this.#parts = parts;
    this.#answers = answers;
    this.#vm = vm;
  }

  /** Takes a question, with the number under which it is answered. */
  receive(id: number, kind: number, target: string, payload: Uint8Array): void {
    if (kind === HostCallKind.warning) {
      warn(this.#parts, target, payload);
      return;
    }
    if (kind === HostCallKind.watch) {
      this.#answers.onWatchEvent(id, { eventType: target as WatchEvent["eventType"], filename: Buffer.from(payload).toString() });
      return;
    }
    const question = { id, kind, target, payload };
    if (!this.#drains && isSmall(payload) && !isTurnOver()) {
      this.#begin(question, () => decode(payload));
      return;
    }
    this.#waiting.push(question);
    if (!this.#drains) void this.#drain();
  }

  async #drain(): Promise<void> {
    this.#drains = true;
    for (let question = this.#waiting.shift(); question !== undefined; question = this.#waiting.shift()) {
      const { payload } = question;
      await turn();
      try {
        const value = isSmall(payload) ? decode(payload) : await decodeInTurns(payload);
        this.#begin(question, () => value);
      } catch (error) {
        this.#begin(question, () => {
          throw error;
        });
      }
    }
    this.#drains = false;
  }

  /** Asks whoever it is for. Never throws. */
  #begin({ id, kind, target }: Question, read: () => unknown): void {
    answer(this.#parts, this.#answers, kind, target, read).then(
      (value) => this.#vm.answer(id, value, undefined),
      (error: unknown) => this.#vm.answer(id, undefined, describe(error)),
    );
  }
}

async function answer(parts: HostParts, answers: HostAnswers, kind: number, target: string, read: () => unknown): Promise<Buffer> {
  const value = await ask(parts, answers, kind, target, read());
  await turn();
  return encode(value, parts.limits);
}

async function ask(parts: HostParts, answers: HostAnswers, kind: number, target: string, question: unknown): Promise<unknown> {
  switch (kind) {
    case HostCallKind.permission: {
      const callback = parts.permissions.get(target);
      if (callback === undefined) return false;
      const verdict: unknown = await callback(question);
      if (typeof verdict !== "object" || verdict === null) return verdict === true;
      const { allow, reason, private: reaches } = verdict as Record<string, unknown>;
      return { allow: allow === true, private: reaches === true, reason: typeof reason === "string" ? reason : undefined };
    }
    case HostCallKind.function:
      return parts.functions.call(target, question as unknown[]);
    case HostCallKind.command:
      if (parts.commands === undefined) throw new SecureExecError("ENOENT", "there is no executor of commands");
      return parts.commands.answer(question as CommandQuestion);
    case HostCallKind.fileSystem: {
      const fs = answers.fileSystems(Number(target));
      if (fs === undefined) throw new SecureExecError("EIO", "the file system is not mounted any more");
      return callFileSystem(fs, question as Parameters<typeof callFileSystem>[1], answers.watches);
    }
    default:
      throw new SecureExecError("ERR_INVALID_STATE", `unknown question ${kind}`);
  }
}

function warn({ onLimitWarning }: HostParts, limit: string, payload: Uint8Array): void {
  const numbers = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength);
  const used = Number(numbers.readBigUInt64LE(0));
  const max = Number(numbers.readBigUInt64LE(8));
  try {
    const result: unknown = onLimitWarning?.({ limit, used, max });
    if (result instanceof Promise) result.catch(() => {});
  } catch {
    // The hook is the host's own affair, as with `onStdio`.
  }
}

/** What a guest sees of an error: no stack and nothing but text. */
function describe(error: unknown): NativeHostError {
  try {
    if (!(error instanceof Error)) return { name: "Error", message: String(error).slice(0, MAX_MESSAGE) };
    const { code } = error as { code?: unknown };
    const text = { name: String(error.name), message: String(error.message).slice(0, MAX_MESSAGE) };
    return typeof code === "string" ? { ...text, code } : text;
  } catch {
    return { name: "Error", message: "the host's function threw something that has no text" };
  }
}
