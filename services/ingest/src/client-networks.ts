import { NetworkMap } from "@rs-agent/shared/policy/network-map.ts";
import { parseAddress, parseNetwork } from "@rs-agent/shared/policy/networks.ts";

/** A list of networks that a client may belong to. */
export interface ClientNetworks {
  include(address: string): boolean;
}

/** @throws RangeError for an entry that is not a network */
export function createClientNetworks(texts: readonly string[]): ClientNetworks {
  const networks = new NetworkMap<true>();
  for (const text of texts) networks.set(parseNetwork(text), true);
  return {
    include: (text) => {
      const address = parseAddress(text);
      return address !== undefined && networks.find(address) === true;
    },
  };
}
