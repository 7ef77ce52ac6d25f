import type { MailRecord } from "../../src/mail/record.ts";
import type { VerdictOf } from "../../src/checks/verdict.ts";
import type { MailState } from "../../src/life/states.ts";
import { createPolicyBook } from "../../src/policy/effective.ts";
import { newMail } from "../../../test/support/new-mail.ts";

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

/** A mail for bob, as it may be in this state. */
export function mailIn(state: MailState, given: Partial<MailRecord> = {}): MailRecord {
  const body = { id: "body-1", form: "document", size: 10, sha256 } as const;
  const whenAndHow = { dueAt: earlier, receivedAt: earlier, plan, route: plan.route };
  return newMail({ _id: "mail-1", state, body, ...whenAndHow, ...given });
}
