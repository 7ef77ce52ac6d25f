import type { UncheckedReason } from "../checks/finding.ts";
import { permanentReasons, transientReasons } from "../checks/finding.ts";
import { ends, forEachEnd } from "../life/outcomes.ts";
import type { CompleteRules } from "./complete-rules.ts";
import type { Direction } from "../mail/plan.ts";

/** Where mail goes when neither policy nor relay setting names a next hop. */
export const builtInNextHop = "127.0.0.1:10026";

/**
 * What holds where no document says otherwise; docs/policy.md has the table. Incoming mail is
 * stripped of what outsiders must not forge; outgoing mail is signed where its tenant has a key.
 */
export function builtInRules(direction: Direction, nextHop: string): CompleteRules {
  const isIncoming = direction === "incoming";
  return {
    virus: { enabled: true, onInfected: "quarantine", unchecked: unchecked("quarantine") },
    spam: {
      enabled: true,
      threshold: 5,
      onSpam: "tag",
      highThreshold: 15,
      onHighSpam: "quarantine",
      maxBytes: 512_000,
      oversize: "unchecked",
      unchecked: unchecked("pass"),
    },
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

/** Transient reasons wait 4 h and then quarantine; permanent ones do what their check says. */
function unchecked(permanent: "pass" | "quarantine") {
  const wait = { action: "wait", for: "4h", then: "quarantine" } as const;
  return Object.fromEntries([
    ...transientReasons.map((reason) => [reason, wait] as const),
    ...permanentReasons.map((reason) => [reason, { action: permanent }] as const),
  ]) as CompleteRules["virus"]["unchecked"] & Record<UncheckedReason, unknown>;
}
