import { ofEach } from "../checks/verdict.ts";
import { ends, forEachEnd } from "../life/outcomes.ts";
import type { BuiltInRules, CompleteRules } from "./complete-rules.ts";
import type { Direction } from "../mail/plan.ts";

/** Where mail goes if neither policy nor relay setting names a next hop. */
export const builtInNextHop = "127.0.0.1:10026";

/**
 * What holds if no document says otherwise; docs/policy.md has the table. Incoming mail loses what
 * outsiders must not forge; outgoing mail is signed if its tenant has a key.
 */
export function builtInRules(direction: Direction, nextHop: string): CompleteRules {
  const isIncoming = direction === "incoming";
  return {
    ...(ofEach(({ builtIn }) => builtIn) as BuiltInRules),
    checks: {},
    order: "sequential",
    changes: {
      strip: { enabled: isIncoming },
      "verdict-headers": { enabled: true },
      "extra-headers": { enabled: false, headers: {} },
      geoip: { enabled: isIncoming },
      "subject-tag": { enabled: false, tag: "[SPAM]" },
      "sender-rewrite": { enabled: false, map: {} },
      disclaimer: { enabled: false, text: "" },
      sign: { enabled: !isIncoming },
    },
    route: { nextHop, protocol: "smtp", tls: "opportunistic" },
    relay: { maxQueueTime: "5d", retry: ["5m", "10m", "20m", "40m", "1h"], onUnknown: "resend" },
    retention: forEachEnd((outcome) => ends[outcome].kept),
  };
}
