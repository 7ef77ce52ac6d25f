import { spf } from "mailauth/lib/spf/index.js";
import { isIP } from "node:net";
import type { Client } from "../smtp-envelope.ts";
import type { AskDns } from "./dns.ts";

/** The results of RFC 7208 §2.6. */
export const spfResults = [
  "pass",
  "fail",
  "softfail",
  "neutral",
  "none",
  "permerror",
  "temperror",
] as const;

export interface SpfFinding {
  result: (typeof spfResults)[number];
  /** The domain of MAIL FROM; "" if it has none. */
  domain: string;
}

export interface SpfQuestion {
  /** Never the null sender: HELO is not checked. */
  mailFrom: string;
  client: Pick<Client, "address" | "helo">;
  ask: AskDns;
  /** The time for the whole evaluation; `temperror` if it is not enough (RFC 7208 §4.6.4). */
  withinMs: number;
  /** Our own name, for macros. */
  hostname: string;
}

/** Whether the domain of MAIL FROM lists the client as one of its senders. Never throws. */
export async function checkSpf(question: SpfQuestion): Promise<SpfFinding> {
  const { mailFrom, client, ask, withinMs, hostname } = question;
  const domain = mailFrom.slice(mailFrom.lastIndexOf("@") + 1).toLowerCase();
  const isDomain = mailFrom.includes("@") && !domain.startsWith("[");
  // No domain lists an unknown client; mailauth would say temperror.
  if (!isDomain || isIP(client.address) === 0) return { result: "none", domain };
  const { status } = await spf({
    sender: mailFrom,
    ip: client.address,
    helo: client.helo,
    mta: hostname,
    resolver: ask,
    maxElapsedTime: withinMs,
    strict: true,
  });
  return { result: spfResults.find((one) => one === status.result) ?? "permerror", domain };
}
