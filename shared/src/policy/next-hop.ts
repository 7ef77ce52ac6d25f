import { isIP, isIPv6 } from "node:net";
import ipaddr from "ipaddr.js";
import { z } from "zod";

const shape =
  /^(?:\[(?<bracketed>[0-9a-fA-F:.]+)\]|(?<name>[A-Za-z0-9_.-]{1,255})):(?<port>\d{1,5})$/;

export interface NextHop {
  /** Name or address, an IPv6 address without its brackets. */
  host: string;
  port: number;
}

/** `host:port`, or `[IPv6 address]:port`. */
export const nextHopSchema = z
  .string({ error: "must be host:port, such as mail.example.org:25 or [2001:db8::25]:25" })
  .refine((text) => parseNextHop(text) !== undefined, {
    error: "must be host:port, such as mail.example.org:25 or [2001:db8::25]:25",
  });

/** Reads `host:port`; undefined for anything else. */
export function parseNextHop(text: string): NextHop | undefined {
  const groups = shape.exec(text)?.groups;
  if (groups === undefined) return undefined;
  const host = groups.bracketed ?? groups.name ?? "";
  const port = Number(groups.port);
  if (groups.bracketed !== undefined && !isIPv6(host)) return undefined;
  return port >= 1 && port <= 65_535 ? { host, port } : undefined;
}

/** Whether what is sent there never leaves this machine, judged by its name or address alone. */
export function isLoopbackHost(host: string): boolean {
  if (host.toLowerCase() === "localhost") return true;
  return isIP(host) !== 0 && ipaddr.process(host).range() === "loopback";
}
