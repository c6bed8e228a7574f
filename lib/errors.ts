/** The error class of the host side, and the way from native errors to it. */

/** What a limit's error says beside its message. */
export interface LimitDetails {
  /** The limit that was met. */
  limit?: string;
  /** Its value. */
  configured?: number;
  /** What was asked for. */
  used?: number;
  /** The option that raises it. */
  option?: string;
}

/** Every error that this package makes about its own work, with a stable `code`. */
export class SecureExecError extends Error {
  /** A stable code, for example `ERR_RUNTIME_DISPOSED`. */
  readonly code: string;
  declare readonly limit?: string;
  declare readonly configured?: number;
  declare readonly used?: number;
  declare readonly option?: string;

  constructor(code: string, message: string, details: LimitDetails & { cause?: unknown } = {}) {
    const { cause, ...limits } = details;
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    Object.assign(this, limits);
  }

  override get name(): string {
    return "SecureExecError";
  }
}

/** Ends the code in a native error's text; `src/vm.rs` puts it there. */
const CODE_END = "\u0000";

/** The error of a native call, with its code. */
export function fromNative(error: unknown): Error {
  if (!(error instanceof Error)) return new SecureExecError("ERR_WORKER_CRASHED", String(error));
  const end = error.message.indexOf(CODE_END);
  if (end < 0) return error;
  const code = error.message.slice(0, end);
  const message = error.message.slice(end + CODE_END.length);
  if (code === "ERR_INVALID_ARG_VALUE") return Object.assign(new TypeError(message), { code });
  return new SecureExecError(code, message);
}

/** The error of a use after the end. */
export function disposedError(what: string): SecureExecError {
  return new SecureExecError("ERR_RUNTIME_DISPOSED", `${what} was disposed of`);
}

/** The error of something that this version does not have. */
export function unavailable(what: string, instead?: string): SecureExecError {
  const hint = instead === undefined ? "" : `; ${instead}`;
  return new SecureExecError("ERR_FEATURE_UNAVAILABLE_ON_PLATFORM", `${what} is not available in this version${hint}`);
}

/** A `TypeError` as Node words it. */
export function typeError(option: string, expected: string, value: unknown): TypeError {
  const error = new TypeError(`${option} must be ${expected}, got ${describe(value)}`);
  return Object.assign(error, { code: "ERR_INVALID_ARG_TYPE" });
}

/** A `TypeError` for a value of the right type that cannot be meant. */
export function valueError(option: string, reason: string, value: unknown): TypeError {
  const error = new TypeError(`${option} ${reason}, got ${describe(value)}`);
  return Object.assign(error, { code: "ERR_INVALID_ARG_VALUE" });
}

/** A `RangeError` as Node words it. */
export function rangeError(option: string, range: string, value: unknown): RangeError {
  const error = new RangeError(`${option} must be ${range}, got ${describe(value)}`);
  return Object.assign(error, { code: "ERR_OUT_OF_RANGE" });
}

const MAX_SHOWN = 64;

/** A short text for a value of the caller, made without calling into it. */
function describe(value: unknown): string {
  switch (typeof value) {
    case "string":
      return JSON.stringify(value.length > MAX_SHOWN ? `${value.slice(0, MAX_SHOWN)}...` : value);
    case "number":
      return Object.is(value, -0) ? "-0" : String(value);
    case "bigint":
      return "a bigint";
    case "boolean":
    case "undefined":
      return String(value);
    case "object":
      return value === null ? "null" : Array.isArray(value) ? "an array" : "an object";
    case "function":
      return "a function";
    default:
      return `a ${typeof value}`;
  }
}
