import { Resolver } from "node:dns/promises";
import ipaddr from "ipaddr.js";

const timeoutMs = 700;

/** What smtp-server asks for the name of a client. */
export interface ReverseResolver {
  reverse(address: string, answer: (error: Error | null, names?: string[]) => void): void;
}

/**
 * Names of clients, as they may be in a Received field: only those whose own address records
 * lead back to the client. The owner of an address can write any name into its PTR record. Asks the
 * system's name servers, or the given ones (`address:port`).
 */
export function createReverseResolver(servers?: readonly string[]): ReverseResolver {
  const resolver = new Resolver({ timeout: timeoutMs, tries: 1 });
  if (servers !== undefined) resolver.setServers(servers);
  return {
    reverse: (address, answer) => {
      if (ipaddr.isValid(address) && ipaddr.process(address).range() === "loopback") {
        answer(null, ["localhost"]);
        return;
      }
      confirmedNames(resolver, address).then(
        (names) => answer(null, names),
        // No name is an answer like any other: NXDOMAIN, SERVFAIL and silence alike.
        () => answer(null, []),
      );
    },
  };
}

async function confirmedNames(resolver: Resolver, address: string): Promise<string[]> {
  const client = ipaddr.process(address);
  const [name] = await resolver.reverse(client.toString());
  if (name === undefined) return [];
  const isIpv6 = client.kind() === "ipv6";
  const found = await (isIpv6 ? resolver.resolve6(name) : resolver.resolve4(name));
  const wanted = client.toNormalizedString();
  return found.some((entry) => ipaddr.process(entry).toNormalizedString() === wanted) ? [name] : [];
}
