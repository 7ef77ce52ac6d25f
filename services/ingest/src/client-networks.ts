import {
  contains,
  parseAddress,
  parseNetwork,
  type Network,
} from "@rs-agent/shared/policy/networks.ts";

/** A list of networks that a client may belong to. */
export interface ClientNetworks {
  include(address: string): boolean;
}

/** @throws RangeError for an entry that is no network */
export function createClientNetworks(texts: readonly string[]): ClientNetworks {
  const networks: Network[] = texts.map(parseNetwork);
  return {
    include: (text) => {
      const address = parseAddress(text);
      return address !== undefined && networks.some((network) => contains(network, address));
    },
  };
}
