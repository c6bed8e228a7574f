/**
 * Values on their way between guest and host, in the encoding of `crates/runtime/src/encoding.rs`.
 *
 * Every property is defined as an own data property, so that a key such as `__proto__` is data like any other and
 * nothing of the host's prototypes runs.
 */

import { types } from "node:util";
import { SecureExecError } from "./errors.js";
import { turn } from "./turns.js";

/** Tags of values. */
const UNDEFINED = 0;
const NULL = 1;
const FALSE = 2;
const TRUE = 3;
const NUMBER = 4;
const LATIN1 = 5;
const UTF16 = 6;
const BIGINT = 7;
const OBJECT = 8;
const ABSENT = 9;
/** Tags of objects. */
const PLAIN = 16;
const NULL_PROTOTYPE = 17;
const ARRAY = 18;
const MAP = 20;
const SET = 21;
const DATE = 22;
const REGEXP = 23;
const ARRAY_BUFFER = 24;
const VIEW = 25;
const ERROR = 26;
const BOXED = 27;

const NOTHING = Symbol("nothing");
type ViewClass = new (buffer: ArrayBuffer) => ArrayBufferView;

/** Classes by the numbers that the encoding gives them. */
const VIEWS: readonly (ViewClass | undefined)[] = [
  DataView,
  Int8Array,
  Uint8Array,
  Uint8ClampedArray,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  Float32Array,
  Float64Array,
  BigInt64Array,
  BigUint64Array,
  (globalThis as { Float16Array?: ViewClass }).Float16Array,
];

const ERRORS: Readonly<Record<string, ErrorConstructor>> = Object.assign(Object.create(null) as object, {
  EvalError,
  RangeError,
  ReferenceError,
  SyntaxError,
  TypeError,
  URIError,
});

function define(target: object, key: PropertyKey, value: unknown, enumerable = true): void {
  Object.defineProperty(target, key, {
    __proto__: null,
    value,
    writable: true,
    enumerable,
    configurable: true,
  } as PropertyDescriptor);
}

/** Stands for the place of an object that is whole as it is made. */
const WHOLE = -1;
/** How many values are read or defined between two looks at the clock. */
const LOOK_EVERY = 256;
/** What regular expressions of one value may cost together; the host compiles them. */
const MAX_REGEXP_COST = 64 * 1024;
/** What a property of characters costs, and one of strings: sets that are made anew for each. */
const PROPERTY_COST = 512;
const STRINGS_COST = 32 * 1024;
const PROPERTY = /\\[pP]\{([^}]*)/g;
const OF_STRINGS = /Emoji_Keycap|Basic_Emoji|RGI_/;

/** Reads in two passes: the first makes every object, empty, and the second fills them. It can rest after each step. */
class Reader {
  readonly #bytes: Buffer;
  #at = 0;
  readonly #objects: object[] = [];
  /** Where each begins that the second pass is for. */
  readonly #bodies: number[] = [];
  #regexps = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** The value, in steps. */
  *read(): Generator<void, unknown, void> {
    this.#skip();
    while (this.#at < this.#bytes.length) {
      this.#objects.push(this.#make(this.#u8()));
      if (this.#objects.length % LOOK_EVERY === 0) yield;
    }
    let steps = 0;
    for (let index = 0; index < this.#objects.length; index++) {
      this.#at = this.#bodies[index] as number;
      if (this.#at === WHOLE) continue;
      for (const _ of this.#fill(this.#objects[index] as object)) {
        if (++steps % LOOK_EVERY === 0) yield;
      }
    }
    this.#at = 0;
    return this.#value();
  }

  #u8(): number {
    return this.#bytes.readUInt8(this.#at++);
  }

  #u32(): number {
    const value = this.#bytes.readUInt32LE(this.#at);
    this.#at += 4;
    return value;
  }

  #f64(): number {
    const value = this.#bytes.readDoubleLE(this.#at);
    this.#at += 8;
    return value;
  }

  /** A copy of `length` bytes in a buffer of their own. */
  #copy(length: number): ArrayBuffer {
    const copy = new ArrayBuffer(length);
    new Uint8Array(copy).set(this.#bytes.subarray(this.#at, this.#at + length));
    this.#at += length;
    return copy;
  }

  #value(): unknown {
    const tag = this.#u8();
    switch (tag) {
      case UNDEFINED:
        return undefined;
      case NULL:
        return null;
      case FALSE:
        return false;
      case TRUE:
        return true;
      case NUMBER:
        return this.#f64();
      case LATIN1: {
        const length = this.#u32();
        this.#at += length;
        return this.#bytes.toString("latin1", this.#at - length, this.#at);
      }
      case UTF16: {
        const length = this.#u32() * 2;
        this.#at += length;
        return this.#bytes.toString("utf16le", this.#at - length, this.#at);
      }
      case BIGINT: {
        const negative = this.#u8() === 1;
        const words = this.#u32();
        const end = this.#at + words * 8;
        const hex = Buffer.from(this.#bytes.subarray(this.#at, end)).reverse().toString("hex");
        this.#at = end;
        const magnitude = hex === "" ? 0n : BigInt(`0x${hex}`);
        return negative ? -magnitude : magnitude;
      }
      case OBJECT:
        return this.#objects[this.#u32()];
      case ABSENT:
        return NOTHING;
      default:
        throw new Error(`unknown value ${tag}`);
    }
  }

  /** Passes over a value. */
  #skip(): void {
    const tag = this.#u8();
    switch (tag) {
      case UNDEFINED:
      case NULL:
      case FALSE:
      case TRUE:
      case ABSENT:
        return;
      case NUMBER:
        this.#at += 8;
        return;
      case LATIN1:
        return this.#pass(1);
      case UTF16:
        return this.#pass(2);
      case BIGINT:
        this.#at += 1;
        return this.#pass(8);
      case OBJECT:
        this.#at += 4;
        return;
      default:
        throw new Error(`unknown value ${tag}`);
    }
  }

  /** Passes over a length and as many units of so many bytes. */
  #pass(bytes: number): void {
    const length = this.#u32();
    this.#at += length * bytes;
  }

  #skipValues(count: number): void {
    for (let i = 0; i < count; i++) this.#skip();
  }

  /** Makes the next object; what it refers to is filled in when all exist. */
  #make(tag: number): object {
    const begin = this.#at - 1;
    const body = this.#bodies.push(WHOLE) - 1;
    /** Passes over what the second pass is for. */
    const later = (values: number): void => {
      if (values > 0) this.#bodies[body] = begin;
      this.#skipValues(values);
    };
    switch (tag) {
      case PLAIN:
      case NULL_PROTOTYPE:
        later(this.#u32() * 2);
        return tag === PLAIN ? {} : (Object.create(null) as object);
      case ARRAY: {
        const target: unknown[] = [];
        target.length = this.#u32();
        this.#bodies[body] = begin;
        for (let count = this.#u32(); count > 0; count--) {
          this.#at += 4;
          this.#skip();
        }
        later(this.#u32() * 2);
        return target;
      }
      case MAP:
        later(this.#u32() * 2);
        return new Map();
      case SET:
        later(this.#u32());
        return new Set();
      case DATE:
        return new Date(this.#f64());
      case REGEXP: {
        const source = this.#value() as string;
        const flags = this.#value() as string;
        const lastIndex = this.#f64();
        this.#chargeRegExp(source, flags);
        return makeRegExp(source, flags, lastIndex);
      }
      case ARRAY_BUFFER:
        return this.#copy(this.#u32());
      case VIEW: {
        const kind = this.#u8();
        const buffer = this.#copy(this.#u32());
        return new (VIEWS[kind] ?? Uint8Array)(buffer);
      }
      case ERROR: {
        this.#bodies[body] = begin;
        const error = this.#error();
        this.#skipValues(this.#u32() * 2);
        return error;
      }
      case BOXED:
        // A wrapper's primitive is never a reference.
        return Object(this.#value()) as object;
      default:
        throw new Error(`unknown object ${tag} at ${body}`);
    }
  }

  /** Gives an object what it holds. Rests after each part. */
  *#fill(target: object): Generator<void, void, void> {
    switch (this.#u8()) {
      case ARRAY:
        this.#at += 4;
        for (let count = this.#u32(); count > 0; count--) {
          const index = this.#u32();
          define(target, index, this.#value());
          yield;
        }
        break;
      case MAP:
        for (let count = this.#u32(); count > 0; count--) {
          const key = this.#value();
          Map.prototype.set.call(target, key, this.#value());
          yield;
        }
        return;
      case SET:
        for (let count = this.#u32(); count > 0; count--) {
          Set.prototype.add.call(target, this.#value());
          yield;
        }
        return;
      case ERROR:
        this.#skipValues(3);
        for (const name of ["cause", "errors"]) {
          const value = this.#value();
          if (value !== NOTHING) define(target, name, value, false);
        }
    }
    for (let count = this.#u32(); count > 0; count--) {
      const name = this.#value() as string;
      define(target, name, this.#value());
      yield;
    }
  }

  #chargeRegExp(source: string, flags: string): void {
    this.#regexps += source.length;
    for (const [, name = ""] of source.matchAll(PROPERTY)) {
      this.#regexps += flags.includes("v") && OF_STRINGS.test(name) ? STRINGS_COST : PROPERTY_COST;
      if (this.#regexps > MAX_REGEXP_COST) break;
    }
    if (this.#regexps > MAX_REGEXP_COST) throw tooLarge("length and properties of regular expressions", this.#regexps, MAX_REGEXP_COST);
  }

  #error(): Error {
    const name = this.#value() as string;
    const message = this.#value() as string;
    const stack = this.#value() as string;
    this.#skip();
    const isAggregate = this.#bytes[this.#at] !== ABSENT;
    this.#skip();
    const limit = Error.stackTraceLimit;
    // The guest's stack replaces the host's.
    Error.stackTraceLimit = 0;
    const error = isAggregate ? new AggregateError([], message) : new (ERRORS[name] ?? Error)(message);
    Error.stackTraceLimit = limit;
    define(error, "message", message, false);
    define(error, "stack", stack, false);
    if (error.name !== name) define(error, "name", name, false);
    return error;
  }
}

/** A regular expression of the guest's V8, which may know syntax that the host's does not. */
function makeRegExp(source: string, flags: string, lastIndex: number): object {
  try {
    const regexp = new RegExp(source, flags);
    regexp.lastIndex = lastIndex;
    return regexp;
  } catch {
    return { source, flags, lastIndex };
  }
}

/** A value of so many bytes is read at once. */
const SMALL_BYTES = 16 * 1024;
/** How long reading a value may take, with as much more for each byte: many times what it does take, but no guest's keys that all fall together. */
const READING_MS = 1000;
const READING_MS_PER_BYTE = 0.5 / 1000;
/** What a single step counts at most: whoever stops the whole process stops the clock, too. */
const MOST_OF_A_STEP_MS = 50;

/** Whether a value is read at once, by {@link decode}. */
export function isSmall(bytes: Uint8Array): boolean {
  return bytes.byteLength <= SMALL_BYTES;
}

/** The value that `bytes` encode. */
export function decode(bytes: Uint8Array): unknown {
  const steps = new Reader(bytes).read();
  for (;;) {
    const { done, value } = steps.next();
    if (done === true) return value;
  }
}

/**
 * The same for bytes of a guest, without holding up the host's event loop: a large value is read in parts, one a turn.
 * One that takes out of all proportion is refused.
 */
export async function decodeInTurns(bytes: Uint8Array): Promise<unknown> {
  if (isSmall(bytes)) return decode(bytes);
  const steps = new Reader(bytes).read();
  const most = READING_MS + READING_MS_PER_BYTE * bytes.byteLength;
  let spent = 0;
  for (;;) {
    await turn();
    const started = performance.now();
    const { done, value } = steps.next();
    spent += Math.min(performance.now() - started, MOST_OF_A_STEP_MS);
    if (done === true) return value;
    if (spent > most) throw tooLarge("time to read a payload", Math.round(spent), Math.round(most));
  }
}

/** Deepest nesting that crosses, and most values; as in `crates/runtime/src/marshal.rs`. */
const MAX_DEPTH = 1000;
const MAX_VALUES = 1_000_000;
/** What an object and a primitive count, as there. */
const OBJECT_COST = 16;
const PRIMITIVE_COST = 8;

/** What may cross at once. */
export interface ValueLimits {
  jsonPayloadBytes: number;
  base64TransferBytes: number;
}

/** A list of bytes that grows. */
class Bytes {
  #buffer = Buffer.allocUnsafe(256);
  length = 0;

  #room(length: number): number {
    const at = this.length;
    this.length += length;
    if (this.length > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.length, this.#buffer.length * 2));
      this.#buffer.copy(larger, 0, 0, at);
      this.#buffer = larger;
    }
    return at;
  }

  u8(value: number): void {
    const at = this.#room(1);
    this.#buffer[at] = value;
  }

  u32(value: number): void {
    const at = this.#room(4);
    this.#buffer.writeUInt32LE(value, at);
  }

  f64(value: number): void {
    const at = this.#room(8);
    this.#buffer.writeDoubleLE(value, at);
  }

  text(text: string, encoding: "latin1" | "utf16le"): void {
    const at = this.#room(encoding === "latin1" ? text.length : text.length * 2);
    this.#buffer.write(text, at, encoding);
  }

  copy(bytes: Uint8Array): void {
    const at = this.#room(bytes.byteLength);
    this.#buffer.set(bytes, at);
  }

  take(): Buffer {
    return this.#buffer.subarray(0, this.length);
  }
}

function tooLarge(what: string, used: number, configured: number, option?: string): SecureExecError {
  const unit = option === undefined ? "" : ` bytes (option ${option})`;
  return new SecureExecError(
    "ERR_SANDBOX_PAYLOAD_TOO_LARGE",
    `${what} exceeded: at least ${used} needed, the limit is ${configured}${unit}`,
    option === undefined ? {} : { limit: what, configured, used, option },
  );
}

function unsupported(what: string): SecureExecError {
  return new SecureExecError("ERR_SANDBOX_UNSUPPORTED_VALUE", `${what} cannot enter the sandbox`);
}

class Writer {
  readonly #out = new Bytes();
  readonly #numbers = new Map<object, number>();
  readonly #found: { object: object; depth: number }[] = [];
  readonly #limits: ValueLimits;
  #values = 0;
  #json = 0;
  #binary = 0;

  constructor(limits: ValueLimits) {
    this.#limits = limits;
  }

  run(value: unknown): Buffer {
    this.#value(value, 0);
    for (let index = 0; index < this.#found.length; index++) {
      const { object, depth } = this.#found[index] as { object: object; depth: number };
      this.#body(object, depth);
    }
    return this.#out.take();
  }

  #charge(bytes: number): void {
    this.#json += bytes;
    const limit = this.#limits.jsonPayloadBytes;
    if (this.#json > limit) throw tooLarge("payload size", this.#json, limit, "payloadLimits.jsonPayloadBytes");
  }

  #chargeBinary(bytes: number): void {
    this.#binary += bytes;
    const limit = this.#limits.base64TransferBytes;
    if (this.#binary > limit) {
      throw tooLarge("binary payload size", this.#binary, limit, "payloadLimits.base64TransferBytes");
    }
  }

  #text(text: string): void {
    const isLatin1 = !/[^\u0000-\u00ff]/.test(text);
    this.#charge(PRIMITIVE_COST + text.length * (isLatin1 ? 1 : 2));
    this.#out.u8(isLatin1 ? LATIN1 : UTF16);
    this.#out.u32(text.length);
    this.#out.text(text, isLatin1 ? "latin1" : "utf16le");
  }

  #bigint(value: bigint): void {
    const negative = value < 0n;
    let hex = (negative ? -value : value).toString(16);
    hex = hex === "0" ? "" : hex.padStart(Math.ceil(hex.length / 16) * 16, "0");
    this.#charge(PRIMITIVE_COST + hex.length / 2);
    this.#out.u8(BIGINT);
    this.#out.u8(negative ? 1 : 0);
    this.#out.u32(hex.length / 16);
    this.#out.copy(Buffer.from(hex, "hex").reverse());
  }

  #value(value: unknown, depth: number): void {
    this.#values += 1;
    if (this.#values > MAX_VALUES) throw tooLarge("payload values", this.#values, MAX_VALUES);
    switch (typeof value) {
      case "undefined":
        return this.#simple(UNDEFINED);
      case "boolean":
        return this.#simple(value ? TRUE : FALSE);
      case "number":
        this.#simple(NUMBER);
        return this.#out.f64(value);
      case "string":
        return this.#text(value);
      case "bigint":
        return this.#bigint(value);
      case "object":
        if (value === null) return this.#simple(NULL);
        this.#out.u8(OBJECT);
        return this.#out.u32(this.#number(value, depth));
      default:
        throw unsupported(`a ${typeof value}`);
    }
  }

  #simple(tag: number): void {
    this.#charge(PRIMITIVE_COST);
    this.#out.u8(tag);
  }

  #number(object: object, depth: number): number {
    const known = this.#numbers.get(object);
    if (known !== undefined) return known;
    if (depth >= MAX_DEPTH) throw tooLarge("payload depth", depth + 1, MAX_DEPTH);
    this.#charge(OBJECT_COST);
    const number = this.#found.length;
    this.#numbers.set(object, number);
    this.#found.push({ object, depth: depth + 1 });
    return number;
  }

  #properties(object: object, names: string[], depth: number): void {
    this.#out.u32(names.length);
    for (const name of names) {
      this.#text(name);
      this.#value((object as Record<string, unknown>)[name], depth);
    }
  }

  #body(object: object, depth: number): void {
    if (Array.isArray(object)) return this.#array(object, depth);
    if (ArrayBuffer.isView(object)) return this.#view(object);
    if (types.isArrayBuffer(object)) {
      this.#chargeBinary(object.byteLength);
      this.#out.u8(ARRAY_BUFFER);
      this.#out.u32(object.byteLength);
      return this.#out.copy(new Uint8Array(object));
    }
    if (types.isMap(object)) {
      this.#out.u8(MAP);
      this.#out.u32(object.size);
      for (const [key, value] of object) {
        this.#value(key, depth);
        this.#value(value, depth);
      }
      return;
    }
    if (types.isSet(object)) {
      this.#out.u8(SET);
      this.#out.u32(object.size);
      for (const value of object) this.#value(value, depth);
      return;
    }
    if (types.isDate(object)) {
      this.#out.u8(DATE);
      return this.#out.f64(object.getTime());
    }
    if (types.isRegExp(object)) {
      this.#out.u8(REGEXP);
      this.#text(object.source);
      this.#text(object.flags);
      return this.#out.f64(object.lastIndex);
    }
    if (types.isNativeError(object)) return this.#error(object, depth);
    if (types.isBoxedPrimitive(object)) {
      const primitive: unknown = object.valueOf();
      if (typeof primitive === "symbol") throw unsupported("a symbol");
      this.#out.u8(BOXED);
      return this.#value(primitive, depth);
    }
    const isExotic =
      types.isPromise(object) || types.isProxy(object) || types.isWeakMap(object) || types.isWeakSet(object) ||
      types.isSharedArrayBuffer(object) || types.isGeneratorObject(object) || types.isExternal(object);
    if (isExotic) throw unsupported(`an object of class ${Object.prototype.toString.call(object).slice(8, -1)}`);
    this.#out.u8(Object.getPrototypeOf(object) === null ? NULL_PROTOTYPE : PLAIN);
    this.#properties(object, Object.keys(object), depth);
  }

  #array(array: unknown[], depth: number): void {
    const names = Object.keys(array);
    const isIndex = (name: string): boolean => String(Number(name) >>> 0) === name && Number(name) < array.length;
    const indexes = names.filter(isIndex);
    this.#out.u8(ARRAY);
    this.#out.u32(array.length);
    this.#out.u32(indexes.length);
    for (const index of indexes) {
      this.#out.u32(Number(index));
      this.#value(array[Number(index)], depth);
    }
    this.#properties(array, names.filter((name) => !isIndex(name)), depth);
  }

  #view(view: ArrayBufferView): void {
    this.#chargeBinary(view.byteLength);
    // A `Buffer` or another subclass crosses as the typed array that it is.
    const kind = VIEWS.findIndex((viewClass) => viewClass !== undefined && view instanceof viewClass);
    this.#out.u8(VIEW);
    this.#out.u8(kind);
    this.#out.u32(view.byteLength);
    this.#out.copy(new Uint8Array(view.buffer, view.byteOffset, view.byteLength));
  }

  #error(error: Error, depth: number): void {
    this.#out.u8(ERROR);
    this.#text(String(error.name));
    this.#text(String(error.message));
    // The host's stack stays here.
    this.#text("");
    for (const name of ["cause", "errors"] as const) {
      if (Object.hasOwn(error, name)) this.#value((error as { cause?: unknown; errors?: unknown })[name], depth);
      else this.#out.u8(ABSENT);
    }
    this.#properties(error, Object.keys(error), depth);
  }
}

/**
 * The bytes of a value, in which cycles and shared references survive. Functions, symbols, promises and proxies are an
 * error, and so is more than `limits` allow.
 */
export function encode(value: unknown, limits: ValueLimits): Buffer {
  return new Writer(limits).run(value);
}
