/** The adapter that stands for the VM's own way out. */

import type { NetworkAdapter } from "./types.js";

/** Makes the network of a VM without guests; the runtime's module does, which needs this one. */
type Make = (exemptPorts: readonly number[]) => Promise<NetworkAdapter>;

let make: Make | undefined;

/** Says how networks are made. */
export function makeNetworksBy(by: Make): void {
  make = by;
}

/**
 * Given as an option it is the same as no adapter. Where an adapter of the embedder's calls it, it performs what it is asked
 * by a way out of its own, which reaches the public internet and the exempt ports of the host's loopback.
 */
export class DefaultNetworkAdapter implements NetworkAdapter {
  readonly exemptPorts: readonly number[];
  #own: Promise<NetworkAdapter> | undefined;

  // Properties, so that a copy of it made by spreading has them.
  readonly fetch: NetworkAdapter["fetch"] = async (url, init) => (await this.#network()).fetch(url, init);
  readonly httpRequest: NetworkAdapter["httpRequest"] = async (url, init) => (await this.#network()).httpRequest(url, init);
  readonly dnsLookup: NetworkAdapter["dnsLookup"] = async (hostname) => (await this.#network()).dnsLookup(hostname);

  constructor(exemptPorts: readonly number[]) {
    this.exemptPorts = exemptPorts;
  }

  #network(): Promise<NetworkAdapter> {
    return (this.#own ??= (make as Make)(this.exemptPorts));
  }
}

/** What {@link createDefaultNetworkAdapter} takes. */
export interface DefaultNetworkAdapterOptions {
  /** Ports of the host's loopback that it reaches. */
  initialExemptPorts?: Iterable<number>;
}

/** The `networkAdapter` of a VM that reaches the outside as far as its permissions go. */
export function createDefaultNetworkAdapter(options?: DefaultNetworkAdapterOptions): NetworkAdapter {
  return new DefaultNetworkAdapter([...(options?.initialExemptPorts ?? [])]);
}
