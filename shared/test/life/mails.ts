import type { MailRecord } from "../../src/mail/record.ts";
import type { VerdictOf } from "../../src/checks/verdict.ts";
import type { MailState } from "../../src/life/states.ts";
import { createPolicyBook } from "../../src/policy/effective.ts";

export const now = new Date("2026-02-01T00:00:00Z");
const earlier = new Date("2026-01-31T23:00:00Z");
const sha256 = "0".repeat(64);

export const plan = createPolicyBook([], { nextHop: "127.0.0.1:25" }).planFor({
  direction: "incoming",
  mailFrom: "ann@example.org",
  recipient: "bob@example.net",
});

export const verdict: VerdictOf<"virus"> = {
  finding: { kind: "clean" },
  settingsHash: plan.virus?.settingsHash ?? "",
  sha256,
  worker: "w",
  queueMs: 1,
  workMs: 2,
  at: earlier,
};

/** A mail for bob, as it may stand in this state. */
export function mailIn(state: MailState, given: Partial<MailRecord> = {}): MailRecord {
  const client = { address: "192.0.2.1", name: "", helo: "" };
  return {
    _id: "mail-1",
    v: 1,
    state,
    next: "plan",
    dueAt: earlier,
    origin: { via: "smtp", name: "mx" },
    smtp: { mailFrom: "ann@example.org", rcptTo: ["bob@example.net"], client },
    recipients: [{ address: "bob@example.net", outcome: "open", attempts: 0 }],
    receivedAt: earlier,
    body: { id: "body-1", form: "document", size: 10, sha256 },
    plan,
    route: plan.route,
    verdicts: {},
    history: [],
    ...given,
  };
}
