import type { UnprovenSender } from "@rs-agent/shared/mail/authentication/sender-proof.ts";
import { forEachStatus, type AttemptStatus } from "@rs-agent/shared/life/outcomes.ts";

/** What this relay did since its start, for `status` and the tests. Recipients, unless it says mails. */
export interface RelayCounts extends Record<AttemptStatus, number> {
  /** Of the bounced: nobody was told, since the sender was not verified (I12) or nobody could say so. */
  unreported: Record<UnprovenSender["why"], number>;
  /** Mails that were sent again after an unknown outcome: possible duplicates. */
  resentMails: number;
  /** Mails whose lease was another's when something was to be written (I3). */
  staleMails: number;
}

export function createCounts(): RelayCounts {
  return {
    ...forEachStatus(() => 0),
    unreported: { unverified: 0, dns: 0 },
    resentMails: 0,
    staleMails: 0,
  };
}
