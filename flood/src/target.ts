import { lookup } from "node:dns/promises";
import { BlockList, isIP } from "node:net";
import { ConnectionString } from "mongodb-connection-string-url";
import { messageOf, TerminalError } from "@rs-agent/shared/errors.ts";

const loopback = new BlockList();
loopback.addSubnet("127.0.0.0", 8, "ipv4");
loopback.addAddress("::1", "ipv6");

export interface Address {
  host: string;
  port: number;
}

/**
 * `smtp://host:port` (port 25 by default) or `host:port`.
 * @throws TerminalError CFG_INVALID
 */
export function parseSmtpUrl(option: string, text: string): Address {
  const url = URL.parse(text.includes("://") ? text : `smtp://${text}`);
  const isPlain = url !== null && ["", "/"].includes(url.pathname) && url.search + url.hash === "";
  if (url?.protocol === "smtp:" && url.hostname !== "" && url.username === "" && isPlain) {
    return { host: url.hostname.replace(/^\[|\]$/g, ""), port: Number(url.port || 25) };
  }
  throw new TerminalError("CFG_INVALID", `${option} ${text}: must be smtp://host:port`);
}

/**
 * The address to connect to. A flood must not leave this host by accident: every address of the
 * name is checked, and the one that is used is one that was checked.
 * @throws TerminalError CFG_TARGET if one is not loopback and nobody said that the target is theirs
 */
export async function checkedTarget(
  option: string,
  { host, port }: Address,
  isOwned: boolean,
): Promise<Address> {
  const addresses = await addressesOf(option, host);
  // If a name has both, servers that listen on only one listen on IPv4.
  const first = addresses.find((address) => isIP(address) === 4) ?? addresses[0];
  if (first === undefined)
    throw new TerminalError("CFG_TARGET", `${option}: ${host} has no address`);
  const foreign = addresses.find((address) => !isLoopback(address));
  if (foreign !== undefined && !isOwned) throw refusal(option, host, foreign);
  return { host: first, port };
}

/** Checks every host of a MongoDB connection string in the same way. */
export async function checkMongoTarget(uri: string, isOwned: boolean): Promise<void> {
  if (isOwned) return;
  const parsed = new ConnectionString(uri);
  const option = "--to mongo (MONGODB_URI)";
  if (parsed.isSRV) throw refusal(option, parsed.hosts.join(), "a name that DNS resolves again");
  for (const each of parsed.hosts) {
    const host = each.replace(/:\d+$/, "").replace(/^\[|\]$/g, "");
    // A connection string names a unix socket by its encoded path.
    if (decodeURIComponent(host).startsWith("/")) continue;
    await checkedTarget(option, { host, port: 0 }, isOwned);
  }
}

export function isLoopback(address: string): boolean {
  const plain = address.replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, "");
  const family = isIP(plain);
  return family !== 0 && loopback.check(plain, family === 4 ? "ipv4" : "ipv6");
}

async function addressesOf(option: string, host: string): Promise<string[]> {
  if (isIP(host) !== 0) return [host];
  try {
    return (await lookup(host, { all: true })).map(({ address }) => address);
  } catch (error) {
    const text = `${option}: ${host} cannot be resolved: ${messageOf(error)}`;
    throw new TerminalError("CFG_TARGET", text, { cause: error });
  }
}

function refusal(option: string, host: string, address: string): TerminalError {
  const named = host === address ? host : `${host} (${address})`;
  return new TerminalError(
    "CFG_TARGET",
    `${option}: ${named} is not this host. A flood against somebody else's server is an attack; ` +
      "if this one is yours, say so: --i-own-this-target",
  );
}
