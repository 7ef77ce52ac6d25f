import type { MailRecord } from "../mail/record.ts";
import type { PolicyBook } from "../policy/effective.ts";
import { isWithin } from "../policy/networks.ts";
import { judgeRecipient } from "../policy/recipient.ts";
import type { SourceConfig } from "./source-config.ts";
import type { SourceRecord } from "./source-record.ts";

/** What the door of sources makes of a record that could be read. */
export interface SourceAcceptance {
  /** How the mail came in, for the record: with it the direction is settled. */
  way: Pick<MailRecord["origin"], "outgoing" | "incoming" | "tenantId">;
  /** Recipients whose mail is taken, each once. */
  accepted: string[];
  refused: { address: string; why: string }[];
}

const reasons = {
  "bad-address": "5.1.3 bad recipient address",
  "not-ascii": "5.6.7 the address is not ASCII",
  "relaying-denied": "5.7.1 relaying denied: the recipient is in no domain of ours",
} as const;

/**
 * The direction is decided by the source and, within its own `networks`, by the client's address: what
 * a record says alone would make us an open relay that signs. Recipients are judged as at ingest; where
 * nothing is ever relayed, they only say whose mail it is.
 */
export function judgeSourceRecord(
  source: SourceConfig,
  { smtp }: SourceRecord,
  book: Pick<PolicyBook, "acceptsRecipient">,
): SourceAcceptance {
  const isOutgoing = source.outgoing || isWithin(source.networks, smtp.client.address);
  const { tenant } = source;
  const way = isOutgoing
    ? { outgoing: true, ...(tenant === undefined ? {} : { tenantId: tenant }) }
    : { incoming: true };
  if (source.mode === "scan-only") return { way, accepted: [...new Set(smtp.rcptTo)], refused: [] };
  const accepted = new Set<string>();
  const refused: SourceAcceptance["refused"] = [];
  for (const address of new Set(smtp.rcptTo)) {
    const judged = judgeRecipient(book, address, isOutgoing ? "outgoing" : "incoming");
    if (judged.kind === "accepted") accepted.add(judged.address);
    else refused.push({ address, why: reasons[judged.why] });
  }
  return { way, accepted: [...accepted], refused };
}
