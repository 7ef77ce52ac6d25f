import { lookup } from "node:dns/promises";
import ipaddr from "ipaddr.js";
import { RetryableError, TerminalError, messageOf } from "../errors.ts";

/** An address of the bus, taken apart. `port` 0 means any free one (`*` in zeromq's words). */
export type Endpoint =
  { transport: "tcp"; host: string; port: number } | { transport: "ipc"; path: string };

/**
 * Parses `tcp://host:port` (IPv6 in brackets, `*` for any port or all addresses) or `ipc://path`.
 * @throws TerminalError BUS_ADDRESS
 */
export function parseEndpoint(text: string): Endpoint {
  const tcp = /^tcp:\/\/(?:\[([0-9a-f:.]+)\]|([^\s[\]:/]+)):(\d{1,5}|\*)$/i.exec(text);
  const host = tcp?.[1] ?? tcp?.[2];
  if (host !== undefined) {
    const port = tcp?.[3] === "*" ? 0 : Number(tcp?.[3]);
    if (port <= 65_535) return { transport: "tcp", host, port };
  }
  const path = /^ipc:\/\/(\S{1,107})$/.exec(text)?.[1];
  if (path !== undefined) return { transport: "ipc", path };
  throw new TerminalError("BUS_ADDRESS", `"${text}" is not tcp://host:port or ipc://path`);
}

/** The text that zeromq wants for it. */
export function formatEndpoint(endpoint: Endpoint): string {
  if (endpoint.transport === "ipc") return `ipc://${endpoint.path}`;
  const host = endpoint.host.includes(":") ? `[${endpoint.host}]` : endpoint.host;
  return `tcp://${host}:${endpoint.port === 0 ? "*" : String(endpoint.port)}`;
}

/** True for an address that cannot leave this host: ipc, 127.0.0.0/8, ::1, `localhost`. */
export function staysOnHost(endpoint: Endpoint): boolean {
  if (endpoint.transport === "ipc" || endpoint.host === "localhost") return true;
  return ipaddr.isValid(endpoint.host) && ipaddr.process(endpoint.host).range() === "loopback";
}

/** True for an address that can be connected to as it is: no name, no wildcard. */
export function isConcrete(endpoint: Endpoint): boolean {
  if (endpoint.transport === "ipc") return true;
  return ipaddr.isValid(endpoint.host) && !isWildcard(endpoint.host) && endpoint.port > 0;
}

/** True for the host part that stands for all addresses of this host. */
export function isWildcard(host: string): boolean {
  if (host === "*") return true;
  return ipaddr.isValid(host) && ipaddr.process(host).range() === "unspecified";
}

/** Finds all addresses of a name; `dns.lookup` in production, so /etc/hosts counts too. */
export type Lookup = (name: string) => Promise<readonly string[]>;

export const systemLookup: Lookup = async (name) =>
  (await lookup(name, { all: true })).map((found) => found.address);

/**
 * All endpoints that an address stands for: a name becomes one for each of its addresses.
 * @throws RetryableError BUS_ADDRESS when the name is not known now
 */
export async function resolveEndpoint(
  endpoint: Endpoint,
  find: Lookup = systemLookup,
): Promise<Endpoint[]> {
  if (endpoint.transport === "ipc" || ipaddr.isValid(endpoint.host)) return [endpoint];
  try {
    const hosts = await find(endpoint.host);
    return hosts.map((host) => ({ ...endpoint, host }));
  } catch (error) {
    throw new RetryableError("BUS_ADDRESS", messageOf(error), { cause: error });
  }
}
