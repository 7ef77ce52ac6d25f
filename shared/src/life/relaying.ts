import type { Enriched, MailRecord, Recipient, UnknownMark } from "../mail/record.ts";
import type { MailChange } from "./change.ts";
import { merged } from "./change.ts";
import { finalFields, heldFor } from "./endings.ts";
import { bounded, entry, type HistoryEntry, type Moment } from "./events.ts";
import { finalStateOf, isOpen, type AttemptStatus } from "./outcomes.ts";
import { without } from "../without.ts";
import { transition } from "./transitions.ts";

/**
 * What a relay makes of a mail that it holds:
 * 1. The mark is written by majority before the transaction, and cleared by whatever ends it known (I8).
 * 2. What no transaction came of leaves the mark of an earlier one as it is.
 */

/**
 * Not attempted: back to the queue. The oldest is served first, unless `dueAt` says later. With
 * `takesMarkBack` our own mark goes with it: nothing was begun.
 */
export const unsent = transition(
  "unsent",
  (mail, { dueAt, takesMarkBack }: { dueAt?: Date; takesMarkBack?: boolean }) => {
    const isMarked = mail.unknown !== undefined && takesMarkBack !== true;
    return {
      set: { state: isMarked ? "relaying" : "ready", dueAt: dueAt ?? mail.receivedAt },
      ...(takesMarkBack === true && { unset: ["unknown" as const] }),
      releaseLease: true,
      untried: true,
    };
  },
);

/** Nobody may guess what it said: a dispatcher plans the mail again. What a hop may have already stays noted. */
export const planLost = transition("planLost", ({ receivedAt }) => ({
  set: {
    state: "processing",
    next: "plan",
    dueAt: receivedAt,
    reason: "its plan cannot be read, so it is planned again",
  },
  unset: ["plan"],
  releaseLease: true,
  untried: true,
}));

/** To be written before the transaction. */
export const marked = transition("marked", (mail, { mark }: { mark: UnknownMark }) => {
  const set = { state: "relaying", unknown: mark } as const;
  if (mail.unknown === undefined) return { set };
  const detail = "its last outcome stayed unknown: a possible duplicate";
  return { set, history: [entry({ now: mark.at, by: mark.relay }, "sent again", detail)] };
});

/** One attempt at the next hop, as it ended. */
export interface AttemptFacts extends Moment {
  /** All of the mail's, each with what it came to. */
  recipients: Recipient[];
  /** Of those who were asked, in their order. */
  statuses: readonly { status: AttemptStatus; reply: string }[];
  /** Who was asked: a session's name, or the route's if there was none. */
  hop: string;
  startedAt: Date;
  /** Whether a transaction began. */
  hadMark: boolean;
  /** Why nobody gets a report of a failure (I12). */
  notTold?: string | undefined;
}

/**
 * Between two transactions of one attempt: who has the mail by now and the mark of the next one, in
 * one write (I8).
 */
export const wentOn = transition(
  "wentOn",
  (_mail, { mark, attempt }: { mark: UnknownMark; attempt: AttemptFacts }) => {
    const set = { state: "relaying", unknown: mark } as const;
    if (attempt.statuses.length === 0) return { set };
    const { recipients } = attempt;
    return { set: { ...set, recipients }, history: [attemptEntry(attempt)] };
  },
);

/** Some are to be tried again, at `dueAt`. */
export const deferred = transition(
  "deferred",
  (
    mail,
    { attempt, dueAt, reason }: { attempt: AttemptFacts; dueAt: Date; reason?: string | undefined },
  ) => {
    const isMarked = staysMarked(mail, attempt);
    return merged(attempted(mail, attempt), {
      set: {
        state: isMarked ? "relaying" : "ready",
        dueAt,
        ...(reason !== undefined && { reason: bounded(reason) }),
      },
      unset: isMarked ? [] : ["unknown"],
    });
  },
);

/** What strangers sent in is not a failure of theirs if only our next hop does not take it: a person looks. */
export const timeOver = transition(
  "timeOver",
  (mail, { attempt, reason }: { attempt: AttemptFacts; reason: string }) => {
    const { unset, ...hold } = heldFor({ ...momentOf(attempt), cause: "time-over", reason });
    return merged(attempted(mail, attempt), {
      ...hold,
      unset: [...(unset ?? []), ...(staysMarked(mail, attempt) ? [] : ["unknown" as const])],
    });
  },
);

/** Every recipient has an outcome. */
export const finished = transition(
  "finished",
  (mail, { attempt, reason }: { attempt: AttemptFacts; reason?: string | undefined }) => {
    const { recipients, now } = attempt;
    const state = finalStateOf(recipients) ?? "dead";
    return {
      ...attempted(mail, attempt),
      set: {
        ...finalFields(mail, state, recipients, now),
        ...(state === "sent" && mail.enriched !== undefined && { enriched: sentOf(mail.enriched) }),
        ...(reason !== undefined && { reason: bounded(reason) }),
      },
      unset: [
        ...(["next", "dueAt", "unknown"] as const),
        ...(reason === undefined ? ["reason" as const] : []),
      ],
      untried: false,
    };
  },
);

/** Nobody sends it again: of the bytes only what they were is kept. */
function sentOf(enriched: Enriched): Enriched {
  return without(enriched, "headerBlock") as Enriched;
}

/** What follows an outcome that nobody knows. */
export interface UnknownFacts extends Moment {
  /** Names the recipients of whom nothing is known. */
  mark: UnknownMark;
  /** What happened, for a person. */
  detail: string;
  /** From when on nothing of the transaction can be on its way any more (I8). */
  resolveAt: Date;
  /** By policy, or by a person's word. */
  then: "resend" | "hold";
  /** Undefined: another relay left it so, and what the attempt did to that is still to be found out. */
  attempt?: AttemptFacts;
}

/** The mark stays; nobody sends the mail again before `resolveAt`. */
export const outcomeUnknown = transition("outcomeUnknown", (mail, facts: UnknownFacts) => {
  const { mark, resolveAt, then, detail, attempt } = facts;
  const concerned = mark.recipients.length;
  const told: MailChange =
    attempt === undefined
      ? { history: [entry(facts, "outcome unknown", detail, { concerned })], untried: true }
      : { ...attempted(mail, attempt), untried: false };
  const reason = bounded(`outcome unknown: ${detail}`);
  const noted = merged(told, { set: { unknown: { ...mark, resolveAt } } });
  if (then === "hold")
    return merged(noted, heldFor({ ...momentOf(facts), cause: "unknown", reason }));
  return merged(noted, {
    set: { state: "relaying", dueAt: resolveAt, reason },
    releaseLease: true,
  });
});

/** Claimed before the time of an outcome that nobody knows was over. */
export const unknownWaits = transition("unknownWaits", (_mail, { dueAt }: { dueAt: Date }) => ({
  set: { dueAt },
  releaseLease: true,
  untried: true,
}));

/** What every attempt leaves behind, whatever came of it. */
function attempted(mail: MailRecord, attempt: AttemptFacts): MailChange {
  const { recipients, startedAt, now, notTold, hadMark } = attempt;
  const queueMs = Math.max(0, startedAt.getTime() - readyAt(mail).getTime());
  const workMs = Math.max(0, now.getTime() - startedAt.getTime());
  return {
    set: { recipients },
    timings: { relay: { queueMs, workMs } },
    history: [
      attemptEntry(attempt),
      ...(notTold === undefined ? [] : [entry(attempt, "not reported", notTold)]),
    ],
    releaseLease: true,
    untried: !hadMark,
  };
}

function attemptEntry(attempt: AttemptFacts): HistoryEntry {
  const counts: Partial<Record<AttemptStatus, number>> = {};
  for (const { status } of attempt.statuses) counts[status] = (counts[status] ?? 0) + 1;
  const summary = Object.entries(counts).map(([status, count]) => `${String(count)} ${status}`);
  const last = attempt.statuses.at(-1)?.reply.replace(/\s+/g, " ") ?? "";
  const detail = `${attempt.hop}: ${summary.join(", ")}: ${last}`;
  return entry(attempt, "relay attempt", detail, { statuses: counts });
}

/** If no transaction began, an earlier one whose outcome is unknown is as unknown as before. */
function staysMarked({ unknown }: MailRecord, { hadMark }: AttemptFacts): boolean {
  return !hadMark && unknown !== undefined;
}

function momentOf({ now, by }: Moment): Moment {
  return { now, by };
}

/** When it came to wait for the relay. */
export function readyAt({ history, receivedAt }: MailRecord): Date {
  return history.findLast(({ event }) => event === "ready")?.at ?? receivedAt;
}

/** The number of the attempt that is about to begin. */
export function attemptNumber({ recipients }: MailRecord): number {
  return 1 + Math.max(0, ...recipients.filter(isOpen).map(({ attempts }) => attempts));
}
