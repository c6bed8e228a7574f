/** The option `permissions`, checked and in the form that the addon takes. Rules are evaluated there. */

import { typeError, valueError } from "./errors.js";
import type { NativeRule, NativeScope } from "./native.js";
import type { PermissionScope } from "./types.js";

type Callback = (request: unknown) => unknown;
/** Functions by scope. */
export type PermissionCallbacks = ReadonlyMap<string, Callback>;

export interface PermissionSettings {
  scopes: NativeScope[];
  callbacks: PermissionCallbacks;
}

const SCOPES: readonly PermissionScope[] = ["fs", "network", "childProcess", "process", "env", "hostFunction"];
/** Version 0.3's name for a scope. */
const ALIASES: Readonly<Record<string, PermissionScope>> = { binding: "hostFunction" };
const LIST_KEYS = ["default", "rules", "deniedAs"];
const RULE_KEYS = ["mode", "operations", "paths", "patterns"];
const NETWORK_KEYS = [...RULE_KEYS, "hosts", "ports", "methods", "urlPattern"];
const MAX_PORT = 65_535;

/** What `allowAll` and its parts are made of: known here, so that nobody is asked. */
export const allow = (): { allow: true } => ({ allow: true });

/** Reads the option. */
export function readPermissions(value: unknown): PermissionSettings {
  const scopes = new Map<string, NativeScope>();
  const callbacks = new Map<string, Callback>();
  if (value !== undefined) {
    const known = [...SCOPES, ...Object.keys(ALIASES)];
    for (const [key, item] of Object.entries(object(value, "permissions", known))) {
      if (item === undefined) continue;
      const scope = ALIASES[key] ?? (key as PermissionScope);
      if (scopes.has(scope)) throw valueError(`permissions.${key}`, `is the same as permissions.${scope}; give one of them`, item);
      scopes.set(scope, readScope(scope, key, item));
      if (typeof item === "function" && item !== allow) callbacks.set(scope, item as Callback);
    }
  }
  return { scopes: [...scopes.values()], callbacks };
}

function object(value: unknown, option: string, known: readonly string[]): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw typeError(option, "an object", value);
  for (const key of Object.keys(value)) {
    if (!known.includes(key)) {
      throw valueError(`${option}.${key}`, `is not an option; known are ${known.join(", ")}`, (value as Record<string, unknown>)[key]);
    }
  }
  return { ...value };
}

function readScope(scope: PermissionScope, key: string, value: unknown): NativeScope {
  const option = `permissions.${key}`;
  if (value === "allow" || value === true || value === allow) return { scope, policy: "allow" };
  if (value === "deny" || value === false) return { scope, policy: "deny" };
  if (typeof value === "function") return { scope, policy: "ask" };
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw valueError(option, 'must be "allow", "deny", a boolean, a rule list or a function', value);
  }
  const list = object(value, option, LIST_KEYS);
  const { rules = [], deniedAs } = list;
  if (!Array.isArray(rules)) throw typeError(`${option}.rules`, "an array", rules);
  if (deniedAs !== undefined && (scope !== "fs" || (deniedAs !== "EACCES" && deniedAs !== "ENOENT"))) {
    throw valueError(`${option}.deniedAs`, 'must be "EACCES" or "ENOENT", for fs', deniedAs);
  }
  return {
    scope,
    policy: "rules",
    defaultAllow: list["default"] === undefined ? false : allows(list["default"], `${option}.default`),
    hidesDenied: deniedAs === "ENOENT",
    rules: Array.from(rules as unknown[], (rule, index) => readRule(scope, rule, `${option}.rules[${index}]`)),
  };
}

function allows(value: unknown, option: string): boolean {
  if (value !== "allow" && value !== "deny") throw valueError(option, 'must be "allow" or "deny"', value);
  return value === "allow";
}

function texts(value: unknown, option: string): string[] {
  if (!Array.isArray(value)) throw typeError(option, "an array of strings", value);
  return Array.from(value as unknown[], (item, index) => {
    if (typeof item !== "string") throw typeError(`${option}[${index}]`, "a string", item);
    return item;
  });
}

function readRule(scope: PermissionScope, value: unknown, option: string): NativeRule {
  const given = object(value, option, scope === "network" ? NETWORK_KEYS : RULE_KEYS);
  const rule: NativeRule = { allow: allows(given["mode"], `${option}.mode`) };
  const list = (key: string): string[] | undefined =>
    given[key] === undefined ? undefined : texts(given[key], `${option}.${key}`);
  const operations = list("operations");
  const hosts = list("hosts");
  const methods = list("methods");
  const paths = list("paths");
  const patterns = list("patterns");
  if (operations !== undefined) rule.operations = operations;
  if (paths !== undefined || patterns !== undefined) rule.patterns = [...(paths ?? []), ...(patterns ?? [])];
  if (hosts !== undefined) rule.hosts = hosts;
  if (methods !== undefined) rule.methods = methods.map((method) => method.toUpperCase());
  if (given["ports"] !== undefined) rule.ports = ports(given["ports"], `${option}.ports`);
  const url = given["urlPattern"];
  if (url !== undefined) {
    if (typeof url !== "string") throw typeError(`${option}.urlPattern`, "a string", url);
    rule.urlPattern = url;
  }
  return rule;
}

/** Ports and ranges such as `"8000-8999"`, as first and last port in turn. */
function ports(value: unknown, option: string): number[] {
  if (!Array.isArray(value)) throw typeError(option, "an array of ports", value);
  return (value as unknown[]).flatMap((item, index) => {
    const range = typeof item === "string" ? /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(item) : null;
    const first = typeof item === "number" ? item : Number(range?.[1] ?? NaN);
    const last = range?.[2] === undefined ? first : Number(range[2]);
    if (!Number.isInteger(first) || first < 0 || last < first || last > MAX_PORT) {
      throw valueError(`${option}[${index}]`, `must be a port from 0 to ${MAX_PORT} or a range such as "8000-8999"`, item);
    }
    return [first, last];
  });
}
