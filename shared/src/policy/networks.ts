import { isIP } from "node:net";
import ipaddr from "ipaddr.js";
import { z } from "zod";

export type Address = ipaddr.IPv4 | ipaddr.IPv6;

/** An address and the number of its bits that count. */
export interface Network {
  address: Address;
  bits: number;
}

/** No tenant has a wider network: such an entry would make an open relay. */
const widest = { ipv4: 8, ipv6: 16 } as const;

/** A network in CIDR notation, or a single address. */
export const networkSchema = z.string().superRefine((text, context) => {
  const problem = problemOf(text);
  if (problem !== undefined) context.addIssue({ code: "custom", message: problem });
});

/**
 * Reads a network that fits {@link networkSchema}.
 * @throws RangeError for anything else
 */
export function parseNetwork(text: string): Network {
  const network = readNetwork(text);
  if (network === undefined) throw new RangeError(`not a network: ${text}`);
  return network;
}

/** An address in text form; `::ffff:192.0.2.1` becomes 192.0.2.1. Undefined if it is none. */
export function parseAddress(text: string): Address | undefined {
  const kind = isIP(text);
  if (kind === 0) return undefined;
  return kind === 4 ? new ipaddr.IPv4(text.split(".").map(Number)) : ipaddr.process(text);
}

/** Whether an address, as text, is in one of these networks, which fit {@link networkSchema}. */
export function isWithin(networks: readonly string[], text: string): boolean {
  const address = parseAddress(text);
  return (
    address !== undefined && networks.some((network) => contains(parseNetwork(network), address))
  );
}

function contains(network: Network, address: Address): boolean {
  if (network.address.kind() !== address.kind()) return false;
  return address.match(network.address, network.bits);
}

function readNetwork(text: string): Network | undefined {
  const [host = "", bits, ...more] = text.split("/");
  const address = parseAddress(host);
  if (address === undefined || more.length > 0 || host.includes("%")) return undefined;
  const length = address.kind() === "ipv4" ? 32 : 128;
  if (bits === undefined) return { address, bits: length };
  if (!/^\d{1,3}$/.test(bits) || Number(bits) > length || isIP(host) === 0) return undefined;
  if (isIP(host) === 6 && address.kind() === "ipv4") return undefined;
  return { address, bits: Number(bits) };
}

function problemOf(text: string): string | undefined {
  const network = readNetwork(text);
  if (network === undefined) {
    return "must be a network such as 192.0.2.0/24 or 2001:db8::/32, or one address";
  }
  const limit = widest[network.address.kind()];
  if (network.bits < limit) {
    return `is too wide: a prefix shorter than /${String(limit)} would let strangers relay through us`;
  }
  const first = firstAddress(network);
  if (first === network.address.toNormalizedString()) return undefined;
  return `has bits set after its prefix; the network is ${first}/${String(network.bits)}`;
}

function firstAddress({ address, bits }: Network): string {
  const cidr = `${address.toString()}/${String(bits)}`;
  const first =
    address.kind() === "ipv4"
      ? ipaddr.IPv4.networkAddressFromCIDR(cidr)
      : ipaddr.IPv6.networkAddressFromCIDR(cidr);
  return first.toNormalizedString();
}
