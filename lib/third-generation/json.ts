/** What JSON makes of a guest's value. */

import { SecureExecError } from "../errors.js";

/** How long the text may be. Parts that stand in many places are written out in each, which a guest can make a lot of. */
const MAX_LENGTH = 16 * 1024 * 1024;
/** What a value counts at least, and a byte of a typed array, whose elements are written as properties. */
const VALUE_LENGTH = 8;
const BYTE_LENGTH = 16;

/** The value as its JSON text has it; throws when it has none. */
export function jsonOf(value: unknown): unknown {
  if (value === undefined) return undefined;
  const length = lengthOf(value, new Map());
  if (length > MAX_LENGTH) {
    throw new SecureExecError("ERR_SANDBOX_PAYLOAD_TOO_LARGE", `the value's JSON would be longer than ${MAX_LENGTH} characters`);
  }
  return JSON.parse(JSON.stringify(value)) as unknown;
}

/** About how long the text is. An object in itself counts nothing: JSON refuses it. */
function lengthOf(value: unknown, known: Map<object, number>): number {
  if (typeof value === "string") return VALUE_LENGTH + value.length;
  if (typeof value !== "object" || value === null) return VALUE_LENGTH;
  if (ArrayBuffer.isView(value)) return BYTE_LENGTH * value.byteLength;
  const before = known.get(value);
  if (before !== undefined) return before;
  known.set(value, 0);
  // Holes are written, too.
  let length = VALUE_LENGTH * (Array.isArray(value) ? value.length : 1);
  for (const key of Object.keys(value)) {
    length += key.length + lengthOf((value as Record<string, unknown>)[key], known);
    if (length > MAX_LENGTH) break;
  }
  known.set(value, length);
  return length;
}
