/** The option `dns`, checked. */

import { isIP } from "node:net";
import { typeError, valueError } from "./errors.js";
import type { NativeVmOptions } from "./native.js";
import type { DnsOptions } from "./types.js";

const KEYS = ["servers", "overrides"] as const satisfies (keyof DnsOptions)[];
/** More than any resolver asks. */
const MAX_SERVERS = 8;
const MAX_OVERRIDES = 10_000;
const MAX_NAME = 255;
const DNS_PORT = 53;

type Dns = Pick<NativeVmOptions, "dnsServers" | "dnsOverrides">;

/** Reads the option. */
export function readDns(value: unknown): Dns {
  if (value === undefined) return { dnsServers: [], dnsOverrides: [] };
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw typeError("dns", "an object", value);
  for (const key of Object.keys(value)) {
    if (!(KEYS as readonly string[]).includes(key)) {
      throw valueError(`dns.${key}`, `is not an option; known are ${KEYS.join(", ")}`, (value as Record<string, unknown>)[key]);
    }
  }
  const { servers, overrides } = value as Record<keyof DnsOptions, unknown>;
  return { dnsServers: readServers(servers), dnsOverrides: readOverrides(overrides) };
}

function readServers(value: unknown): string[] {
  if (value === undefined) return [];
  if (!Array.isArray(value) || value.length > MAX_SERVERS) {
    throw typeError("dns.servers", `an array of at most ${MAX_SERVERS} addresses`, value);
  }
  return Array.from(value as unknown[], (item, index) => {
    const option = `dns.servers[${index}]`;
    if (typeof item !== "string") throw typeError(option, "a string", item);
    return serverAddress(item, option);
  });
}

/** An address with its port: `1.1.1.1`, `1.1.1.1:53`, `::1`, `[::1]:53`. */
function serverAddress(item: string, option: string): string {
  const parts = /^(?:\[(?<v6>[^\]]+)\]|(?<v4>[^:]+))(?::(?<port>\d{1,5}))?$/.exec(item)?.groups;
  const ip = isIP(item) === 6 ? item : (parts?.["v6"] ?? parts?.["v4"] ?? "");
  const port = isIP(item) === 6 ? DNS_PORT : Number(parts?.["port"] ?? DNS_PORT);
  const family = isIP(ip);
  if (family === 0 || ip.includes("%") || port < 1 || port > 65_535) {
    throw valueError(option, 'must be an address, with a port or without, such as "192.0.2.1" or "[2001:db8::1]:5353"', item);
  }
  return family === 6 ? `[${ip}]:${port}` : `${ip}:${port}`;
}

function readOverrides(value: unknown): Dns["dnsOverrides"] {
  if (value === undefined) return [];
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw typeError("dns.overrides", "an object", value);
  const entries = Object.entries(value as Record<string, unknown>);
  if (entries.length > MAX_OVERRIDES) throw valueError("dns.overrides", `must have at most ${MAX_OVERRIDES} names`, entries.length);
  return entries.map(([given, item]) => {
    const option = `dns.overrides[${JSON.stringify(given)}]`;
    const name = given.toLowerCase().replace(/\.$/, "");
    if (name === "" || name.length > MAX_NAME || isIP(name) !== 0) throw valueError(option, "must be the name of a host", given);
    if (!Array.isArray(item) || item.length === 0) throw typeError(option, "an array of addresses", item);
    const addresses = Array.from(item as unknown[], (address, index) => {
      if (typeof address !== "string" || isIP(address) === 0 || address.includes("%")) {
        throw valueError(`${option}[${index}]`, "must be an IP address", address);
      }
      return address;
    });
    return { name, addresses };
  });
}
