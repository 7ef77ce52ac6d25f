import { getServers, Resolver } from "node:dns/promises";
import { z } from "zod";
import { integer } from "../../config.ts";

/** Asks the DNS, in the forms of `node:dns`. Rejects with its codes: ENOTFOUND, ENODATA, ETIMEOUT … */
export type AskDns = (name: string, type: string) => Promise<string[] | string[][]>;

/** How often each question is put to every name server before it has failed. */
const rounds = 2;
/** Codes that are an answer about the name; any other means trouble with the name server. */
const answers: ReadonlySet<unknown> = new Set(["ENOTFOUND", "ENODATA", "EBADNAME"]);

/** The settings of a program that asks the DNS about the senders of mail. */
export const dnsSettings = {
  /** Name servers, `address` or `address:port`; unset: those of the system. */
  DNS_SERVERS: z
    .string()
    .transform((text) => text.split(",").map((server) => server.trim()))
    .refine(areServers, { error: "must be addresses such as 127.0.0.1 or [2001:db8::1]:5353" })
    .optional(),
  DNS_TIMEOUT_MS: integer(10, 60_000).default(2_000),
  /** The time for all questions about one sender together. */
  SENDER_CHECK_MS: integer(10, 600_000).default(10_000),
};

export interface DnsOptions {
  /** Unset: those that the system uses now. */
  servers?: readonly string[] | undefined;
  /** How long to wait for one name server. */
  timeoutMs: number;
}

/**
 * Asks one name server after another until one answers. Node's own resolver goes on only if a
 * server is silent; for it a SERVFAIL would be the end.
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
