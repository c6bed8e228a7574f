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
import { decode, encode } from "./values.js";
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

/** Takes the questions of one VM, each with the number under which it is answered. */
export function receive(
  parts: HostParts,
  answers: HostAnswers,
  vm: NativeVm,
  id: number,
  kind: number,
  target: string,
  payload: Uint8Array,
): void {
  if (kind === HostCallKind.warning) {
    warn(parts, target, payload);
    return;
  }
  if (kind === HostCallKind.watch) {
    answers.onWatchEvent(id, { eventType: target as WatchEvent["eventType"], filename: Buffer.from(payload).toString() });
    return;
  }
  answer(parts, answers, kind, target, payload).then(
    (value) => vm.answer(id, value, undefined),
    (error: unknown) => vm.answer(id, undefined, describe(error)),
  );
}

async function answer(
  parts: HostParts,
  answers: HostAnswers,
  kind: number,
  target: string,
  payload: Uint8Array,
): Promise<Buffer> {
  const { limits } = parts;
  switch (kind) {
    case HostCallKind.permission: {
      const callback = parts.permissions.get(target);
      if (callback === undefined) return encode(false, limits);
      const verdict: unknown = await callback(decode(payload));
      if (typeof verdict !== "object" || verdict === null) return encode(verdict === true, limits);
      const { allow, reason, private: reaches } = verdict as Record<string, unknown>;
      const text = typeof reason === "string" ? reason : undefined;
      return encode({ allow: allow === true, private: reaches === true, reason: text }, limits);
    }
    case HostCallKind.function:
      return encode(await parts.functions.call(target, decode(payload) as unknown[]), limits);
    case HostCallKind.command: {
      if (parts.commands === undefined) throw new SecureExecError("ENOENT", "there is no executor of commands");
      return encode(await parts.commands.answer(decode(payload) as CommandQuestion), limits);
    }
    case HostCallKind.fileSystem: {
      const fs = answers.fileSystems(Number(target));
      if (fs === undefined) throw new SecureExecError("EIO", "the file system is not mounted any more");
      return encode(await callFileSystem(fs, decode(payload) as Parameters<typeof callFileSystem>[1], answers.watches), limits);
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
