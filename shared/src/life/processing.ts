import type { Lane } from "../mail/lane.ts";
import { adoptStep } from "../mail/stub.ts";
import type { Enriched, MailRecord } from "../mail/record.ts";
import type { UncheckedReason } from "../checks/finding.ts";
import type { CheckKind, TaskKind, Verdict } from "../checks/verdict.ts";
import type { Deliverable } from "../policy/disposition.ts";
import type { Plan } from "../mail/plan.ts";
import type { MailChange } from "./change.ts";
import { bounded, entry, type Moment } from "./events.ts";
import { transition } from "./transitions.ts";

/** What a dispatcher makes of a mail that it holds, from its plan to the relay. */

/** A plan, or a new one for a mail that is not yet ready. If its holder dies, it is found under `plan`. */
export const planned = transition("planned", (mail, facts: Moment & { plan: Plan }) => {
  const { plan } = facts;
  const [now, before] = [plan, mail.plan].map((one) => one?.policyIds.join(" > "));
  const detail = before === undefined ? undefined : `policy ${now ?? ""}, before: ${before}`;
  const { tenantId, direction } = plan;
  return {
    set: {
      ...{ state: "processing", next: "plan", plan, direction },
      ...(tenantId !== undefined && { tenantId }),
    },
    unset: tenantId === undefined ? ["tenantId"] : [],
    history: [entry(facts, "planned", detail)],
  };
});

/** The groups of a split are frozen before the first child exists. */
export const groupsFrozen = transition(
  "groupsFrozen",
  (_mail, facts: Moment & { groups: string[][] }) => ({
    set: { state: "processing", next: "plan", groups: facts.groups },
    history: [entry(facts, "groups frozen", `${String(facts.groups.length)} groups`)],
  }),
);

/** Every child is durable. Final: the children carry the recipients on. */
export const split = transition("split", (_mail, facts: Moment) => ({
  set: { state: "split", finalAt: facts.now },
  unset: ["next", "dueAt"],
  history: [entry(facts, "split")],
  releaseLease: true,
}));

/** Back to the queue, verdicts kept, for the next dispatcher with credit: the oldest is served first. */
export const givenBack = transition(
  "givenBack",
  (
    { receivedAt },
    { next, reason }: { next: Lane | "plan" | typeof adoptStep; reason?: string | undefined },
  ) => ({
    set: {
      // Under `plan` mail of both states is claimed, under a lane only what is processed.
      state: next === "plan" || next === adoptStep ? "incoming" : "processing",
      next,
      dueAt: receivedAt,
      ...(reason !== undefined && { reason: bounded(reason) }),
    },
    releaseLease: true,
    untried: true,
  }),
);

/** A check could not be made and policy says wait: tried again at `retryAt`. */
export const checkWaits = transition(
  "checkWaits",
  (
    _mail,
    facts: {
      check: CheckKind;
      unchecked: UncheckedReason;
      /** When that was first seen. */
      since: Date;
      next: Lane;
      retryAt: Date;
      reason: string;
    },
  ) => ({
    set: {
      state: "processing",
      next: facts.next,
      dueAt: facts.retryAt,
      uncheckedSince: { check: facts.check, reason: facts.unchecked, at: facts.since },
      reason: bounded(facts.reason),
    },
    releaseLease: true,
    untried: true,
  }),
);

/** All verdicts are in, the header block is made, the relay may have it (I2). */
export const ready = transition(
  "ready",
  (
    mail,
    facts: Moment & { plan: Plan; disposition: Deliverable; enriched: Enriched | undefined },
  ) => {
    const { plan, disposition, enriched, now } = facts;
    return {
      set: {
        state: "ready",
        next: plan.route.key,
        route: plan.route,
        dueAt: now,
        disposition,
        ...(enriched !== undefined && { enriched }),
      },
      unset: ["uncheckedSince", "reason", ...(enriched === undefined ? ["enriched" as const] : [])],
      history: [entry(facts, "ready", disposition)],
      releaseLease: true,
      // What a relay left in the middle of a transaction is still suspected of that (poison.ts).
      ...(mail.unknown !== undefined && { untried: true }),
    };
  },
);

/** What is learned of a mail on its way, and changes no state. */

export function verdictKnown(check: CheckKind, verdict: Verdict): MailChange {
  return { verdicts: { [check]: verdict } };
}

export function enriched(made: Enriched): MailChange {
  return { set: { enriched: made } };
}

export function timed(task: TaskKind, timing: { queueMs: number; workMs: number }): MailChange {
  return { timings: { [task]: timing } };
}

/** A worker, or its engine, died or hung while it had the mail. */
export function struck(
  { strikes = 0 }: MailRecord,
  facts: Moment & { task: TaskKind; count: number; begun: boolean; how: string },
): MailChange {
  const { task, count, begun, how } = facts;
  return {
    set: { strikes: strikes + count },
    history: [entry(facts, "strike", `${task}: ${how}`, { task, begun })],
  };
}

/** It was worked on alone, and nothing died. */
export const strikesForgiven: MailChange = { unset: ["strikes"] };

/** Workers in a row that died before they had begun it. */
export function unbegunCounted(unbegun: number): MailChange {
  return unbegun === 0 ? { unset: ["unbegun"] } : { set: { unbegun } };
}
