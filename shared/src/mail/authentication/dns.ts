import { getServers, Resolver } from "node:dns/promises";
import { z } from "zod";
import { integer } from "../../config.ts";

/** Asks the DNS, in the forms of `node:dns`. Rejects with its codes: ENOTFOUND, ENODATA, ETIMEOUT … */
export type AskDns = (name: string, type: string) => Promise<string[] | string[][]>;

/** Each question is put to every name server this often before it has failed. */
const rounds = 2;
/** What the DNS says of a name; anything else is trouble of the name server. */
const answers: ReadonlySet<unknown> = new Set(["ENOTFOUND", "ENODATA", "EBADNAME"]);

/** The settings of a program that asks about the senders of mail. */
export const dnsSettings = {
  /** Name servers, `address` or `address:port`; unset: those of the system. */
  DNS_SERVERS: z
    .string()
    .transform((text) => text.split(",").map((server) => server.trim()))
    .refine(areServers, { error: "must be addresses such as 127.0.0.1 or [2001:db8::1]:5353" })
    .optional(),
  DNS_TIMEOUT_MS: integer(10, 60_000).default(2_000),
  /** All that is asked about one sender, together. */
  SENDER_CHECK_MS: integer(10, 600_000).default(10_000),
};

export interface DnsOptions {
  /** Unset: those that the system has now. */
  servers?: readonly string[] | undefined;
  /** How long one name server is waited for. */
  timeoutMs: number;
}

/**
 * Asks one name server after the other until one answers. Node's own resolver does so only if one
 * is silent: a SERVFAIL would be the end.
 */
export function createDns({ servers, timeoutMs }: DnsOptions): AskDns {
  const resolvers = (servers ?? getServers()).map((server) => {
    const resolver = new Resolver({ timeout: timeoutMs, tries: 1 });
    resolver.setServers([server]);
    return resolver;
  });
  const inTurn = Array.from({ length: rounds }, () => resolvers).flat();
  return async (name, type) => {
    let trouble: unknown = Object.assign(new Error("no name server"), { code: "ECONNREFUSED" });
    for (const resolver of inTurn) {
      try {
        return (await resolver.resolve(name, type)) as string[] | string[][];
      } catch (error) {
        if (answers.has((error as { code?: unknown }).code)) throw error;
        trouble = error;
      }
    }
    throw trouble;
  };
}

function areServers(servers: readonly string[]): boolean {
  try {
    new Resolver().setServers(servers);
    return true;
  } catch {
    return false;
  }
}
