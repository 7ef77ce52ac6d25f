import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import type { Plan } from "@rs-agent/shared/mail/plan.ts";

/** For a mail that came without a plan (written by hand): RFC 5321 §4.5.4.1's days, and no haste. */
const withoutPlan: Plan["relay"] = {
  maxQueueMs: 5 * 24 * 3_600_000,
  retryMs: [1_800_000],
  onUnknown: "resend",
};

/** The relay rules that were frozen into the mail. */
export function relayRules(mail: MailRecord): Plan["relay"] {
  return mail.plan?.relay ?? withoutPlan;
}

/** What follows an outcome that nobody knows (I8), even if the plan cannot be read. */
export function onUnknown({ plan, planRef }: MailRecord): Plan["relay"]["onUnknown"] {
  return plan?.relay.onUnknown ?? planRef?.onUnknown ?? withoutPlan.onUnknown;
}

/** Whether the time that the mail may wait in the queue is over. */
export function isExpired(mail: MailRecord, now: Date): boolean {
  return now.getTime() >= expiryMs(mail);
}

/**
 * When the next attempt is, after `attempts` of them: by the schedule, and a last one when the mail's
 * time is over.
 */
export function retryAt(mail: MailRecord, attempts: number, now: Date): Date {
  const { retryMs } = relayRules(mail);
  const delayMs = retryMs[Math.min(attempts, retryMs.length) - 1] ?? retryMs[0] ?? 0;
  const next = now.getTime() + delayMs;
  return new Date(isExpired(mail, now) ? next : Math.min(next, expiryMs(mail)));
}

function expiryMs(mail: MailRecord): number {
  return (mail.queuedAt ?? mail.receivedAt).getTime() + relayRules(mail).maxQueueMs;
}
