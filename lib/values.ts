/**
 * Builds the host's values from the encoding of `crates/runtime/src/marshal.rs`.
 *
 * Every property is defined as an own data property, so that a key such as `__proto__` is data like any other and
 * nothing of the host's prototypes runs.
 */

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

/** Stands for an object until all of them exist. */
class Reference {
  readonly number: number;
  constructor(number: number) {
    this.number = number;
  }
}

const NOTHING = Symbol("nothing");
type Slot = unknown;

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

class Reader {
  readonly #bytes: Buffer;
  #at = 0;
  readonly objects: object[] = [];
  readonly fills: (() => void)[] = [];

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get done(): boolean {
    return this.#at >= this.#bytes.length;
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

  value(): Slot {
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
        return new Reference(this.#u32());
      case ABSENT:
        return NOTHING;
      default:
        throw new Error(`unknown value ${tag}`);
    }
  }

  #resolve(slot: Slot): unknown {
    return slot instanceof Reference ? this.objects[slot.number] : slot;
  }

  resolve(slot: Slot): unknown {
    for (const fill of this.fills) fill();
    return this.#resolve(slot);
  }

  #properties(target: object): void {
    const count = this.#u32();
    const slots: Slot[] = [];
    for (let i = 0; i < count * 2; i++) slots.push(this.value());
    if (count === 0) return;
    this.fills.push(() => {
      for (let i = 0; i < slots.length; i += 2) define(target, slots[i] as string, this.#resolve(slots[i + 1]));
    });
  }

  /** Makes the next object; what it refers to is filled in when all exist. */
  object(): void {
    const index = this.objects.length;
    this.objects.push(this.#make(this.#u8(), index));
  }

  #make(tag: number, index: number): object {
    switch (tag) {
      case PLAIN:
      case NULL_PROTOTYPE: {
        const target: object = tag === PLAIN ? {} : (Object.create(null) as object);
        this.#properties(target);
        return target;
      }
      case ARRAY: {
        const target: unknown[] = [];
        target.length = this.#u32();
        const count = this.#u32();
        const slots: [number, Slot][] = [];
        for (let i = 0; i < count; i++) slots.push([this.#u32(), this.value()]);
        this.fills.push(() => {
          for (const [at, slot] of slots) define(target, at, this.#resolve(slot));
        });
        this.#properties(target);
        return target;
      }
      case MAP: {
        const target = new Map<unknown, unknown>();
        const slots = this.#slots(this.#u32() * 2);
        this.fills.push(() => {
          for (let i = 0; i < slots.length; i += 2) {
            Map.prototype.set.call(target, this.#resolve(slots[i]), this.#resolve(slots[i + 1]));
          }
        });
        return target;
      }
      case SET: {
        const target = new Set<unknown>();
        const slots = this.#slots(this.#u32());
        this.fills.push(() => {
          for (const slot of slots) Set.prototype.add.call(target, this.#resolve(slot));
        });
        return target;
      }
      case DATE:
        return new Date(this.#f64());
      case REGEXP: {
        const source = this.value() as string;
        const flags = this.value() as string;
        const lastIndex = this.#f64();
        return makeRegExp(source, flags, lastIndex);
      }
      case ARRAY_BUFFER:
        return this.#copy(this.#u32());
      case VIEW: {
        const kind = this.#u8();
        const buffer = this.#copy(this.#u32());
        return new (VIEWS[kind] ?? Uint8Array)(buffer);
      }
      case ERROR:
        return this.#error();
      case BOXED: {
        // A wrapper's primitive is never a reference.
        const value = Object(this.value()) as object;
        return value;
      }
      default:
        throw new Error(`unknown object ${tag} at ${index}`);
    }
  }

  #slots(count: number): Slot[] {
    const slots: Slot[] = [];
    for (let i = 0; i < count; i++) slots.push(this.value());
    return slots;
  }

  #error(): Error {
    const name = this.value() as string;
    const message = this.value() as string;
    const stack = this.value() as string;
    const cause = this.value();
    const errors = this.value();
    const isAggregate = errors !== NOTHING;
    const limit = Error.stackTraceLimit;
    // The guest's stack replaces the host's.
    Error.stackTraceLimit = 0;
    const error = isAggregate ? new AggregateError([], message) : new (ERRORS[name] ?? Error)(message);
    Error.stackTraceLimit = limit;
    define(error, "message", message, false);
    define(error, "stack", stack, false);
    if (error.name !== name) define(error, "name", name, false);
    this.fills.push(() => {
      if (cause !== NOTHING) define(error, "cause", this.#resolve(cause), false);
      if (errors !== NOTHING) define(error, "errors", this.#resolve(errors), false);
    });
    this.#properties(error);
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

/** The value that `bytes` encode. */
export function decode(bytes: Uint8Array): unknown {
  const reader = new Reader(bytes);
  const root = reader.value();
  while (!reader.done) reader.object();
  return reader.resolve(root);
}
