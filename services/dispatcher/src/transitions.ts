import { recipientsWith, retentionUntil } from "@rs-agent/shared/mail/state.ts";
import type {
  Enriched,
  HistoryEntry,
  MailRecord,
  MailState,
  Outcome,
} from "@rs-agent/shared/mail/record.ts";
import type { Lane } from "@rs-agent/shared/mail/lane.ts";
import type { CheckKind } from "@rs-agent/shared/checks/verdict.ts";
import type { UncheckedReason } from "@rs-agent/shared/checks/finding.ts";
import type { Plan } from "@rs-agent/shared/mail/plan.ts";
import type { MailChange } from "@rs-agent/shared/store/mails.ts";

/**
 * Every change of state that the dispatcher makes, as data. Each is written guarded by mail id and
 * lease token (I3); none is made anywhere else.
 */

/**
 * incoming or held → processing, or a new plan for a mail that is not yet ready. If its holder dies,
 * it is found under `plan`.
 */
export function planned(plan: Plan, now: Date, by: string): MailChange {
  return {
    set: { state: "processing", next: "plan", plan, direction: plan.direction },
    history: entry(now, "planned", by, `policy ${plan.policyIds.join(" > ")}`),
  };
}

/** Back to the queue, verdicts kept, for whoever has credit next: the oldest is served first. */
export function givenBack(mail: MailRecord, next: Lane | "plan", reason?: string): MailChange {
  return {
    set: {
      // Under `plan` only incoming mail is claimed.
      ...(next === "plan" ? { state: "incoming" } : {}),
      next,
      dueAt: mail.receivedAt,
      ...(reason === undefined ? {} : { reason }),
    },
    releaseLease: true,
    untried: true,
  };
}

/** A check could not be made and policy says wait: tried again at `retryAt`. */
export function waits(
  check: CheckKind,
  next: Lane,
  since: { reason: UncheckedReason; at: Date },
  retryAt: Date,
  reason: string,
): MailChange {
  return {
    set: { next, dueAt: retryAt, uncheckedSince: { check, ...since }, reason },
    releaseLease: true,
    untried: true,
  };
}

/** processing → ready: all verdicts are in, the header block is made, the relay may have it (I2). */
export function ready(
  plan: Plan,
  disposition: "deliver" | "tag",
  enriched: Enriched | undefined,
  now: Date,
  by: string,
): MailChange {
  return {
    set: {
      state: "ready",
      next: plan.route.key,
      route: plan.route,
      dueAt: now,
      disposition,
      ...(enriched === undefined ? {} : { enriched }),
    },
    unset: ["uncheckedSince", "reason", ...(enriched === undefined ? ["enriched"] : [])],
    history: entry(now, "ready", by, disposition),
    releaseLease: true,
  };
}

/** processing → an end that is not the relay's: every open recipient gets this outcome (I1). */
export function ended(
  mail: MailRecord,
  state: Extract<MailState, "quarantined" | "discarded" | "bounced" | "dead">,
  reason: string,
  now: Date,
  by: string,
): MailChange {
  const expireAt = retentionUntil(state, mail, now);
  return {
    set: {
      state,
      reason: reason.slice(0, 1000),
      disposition: state,
      recipients: recipientsWith(mail.recipients, state satisfies Outcome, now),
      finalAt: now,
      ...(expireAt === undefined ? {} : { expireAt }),
    },
    unset: ["next", "dueAt", "uncheckedSince"],
    history: entry(now, state, by, reason),
    releaseLease: true,
  };
}

/** processing → held. With `retryAt` it is tried again by itself; without, a person must act. */
export function held(reason: string, retryAt: Date | undefined, now: Date, by: string): MailChange {
  return {
    set: {
      state: "held",
      reason: reason.slice(0, 1000),
      ...(retryAt === undefined ? {} : { next: "retry", dueAt: retryAt, heldUntil: retryAt }),
    },
    unset: retryAt === undefined ? ["next", "dueAt", "heldUntil"] : [],
    history: entry(now, "held", by, reason),
    releaseLease: true,
  };
}

/** The groups of a split are frozen before the first child exists. */
export function groupsFrozen(groups: string[][], now: Date, by: string): MailChange {
  return {
    set: { state: "processing", next: "plan", groups },
    history: entry(now, "groups frozen", by, `${String(groups.length)} groups`),
  };
}

/** processing → split, once every child is durable. Final: the children carry the recipients on. */
export function split(now: Date, by: string): MailChange {
  return {
    set: { state: "split", finalAt: now },
    unset: ["next", "dueAt"],
    history: entry(now, "split", by),
    releaseLease: true,
  };
}

function entry(at: Date, event: string, by: string, detail?: string): HistoryEntry {
  return { at, event, by, ...(detail === undefined ? {} : { detail: detail.slice(0, 1000) }) };
}

/** One change that has the effect of both, the later one winning. */
export function merged(first: MailChange | undefined, then: MailChange): MailChange {
  if (first === undefined) return then;
  const set = { ...first.set, ...then.set };
  for (const path of Object.keys(set)) {
    if (then.unset?.some((gone) => path === gone || path.startsWith(`${gone}.`)) === true) {
      Reflect.deleteProperty(set, path);
    }
  }
  const unset = [...(first.unset ?? []), ...(then.unset ?? [])].filter((path) => !(path in set));
  return {
    set,
    unset: [...new Set(unset)],
    history: [...historyOf(first), ...historyOf(then)],
    releaseLease: first.releaseLease === true || then.releaseLease === true,
    untried: first.untried === true || then.untried === true,
  };
}

function historyOf(change: MailChange): HistoryEntry[] {
  return change.history === undefined ? [] : [change.history].flat();
}
