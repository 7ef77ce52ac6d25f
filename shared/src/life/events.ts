import { z } from "zod";
import type { TaskKind } from "../checks/verdict.ts";
import { finalOutcomes, type AttemptStatus, type FinalOutcome } from "./outcomes.ts";

/** Why a mail is held. */
export type HoldCause =
  /** Its policy says so of what was found. */
  | "policy"
  /** What policy demands cannot be done now: a key that cannot be read, an enricher that fails. */
  | "unable"
  /** A person's word. */
  | "person"
  /** Strangers sent it in, and the next hop has not taken it in its time (I12). */
  | "time-over"
  /** The outcome of its last attempt is unknown, and policy holds it then (I8). */
  | "unknown"
  /** No service could have seen it: somebody wrote it by hand. */
  | "unseen"
  /** It came to the relay, and must not leave by it. */
  | "not-to-be-sent";

/** Why a mail is a dead letter. */
export type DeathCause =
  /** Services ended over it, each alone with it at last. */
  | "services-ended"
  /** Workers or engines died or hung on it, the last one alone with it. */
  | "workers-ended"
  /** It is refused, and nobody may be told. */
  | "double-bounce"
  /** A record of a source whose recipients, or which itself, our SMTP door would have refused. */
  | "refused"
  /** It lacks what every mail needs: a body, a route, an open recipient. */
  | "incomplete"
  /** It was never a record. */
  | "malformed";

/** What an event tells programs; its `detail` is for people alone. Older records have only that. */
interface EventFacts {
  held: { cause?: HoldCause };
  dead: { cause?: DeathCause };
  /** `begun` false: workers that died in a row before they had begun it. */
  strike: { task?: TaskKind; begun?: boolean };
  /** Recipients by what the attempt came to for them. */
  "relay attempt": { statuses?: Partial<Record<AttemptStatus, number>> };
  /** Recipients of the attempt that nobody ended. */
  "outcome unknown": { concerned?: number };
  "outcome found out": { outcome?: FinalOutcome };
}

/** Every event that a record's history may have. */
export const eventNames = [
  "accepted",
  "adopted",
  "record back",
  "split off",
  "report made",
  "planned",
  "groups frozen",
  "split",
  "strike",
  "ready",
  // Each end that is not an attempt of the relay.
  ...finalOutcomes.filter((end) => end !== "sent"),
  "held",
  "relay attempt",
  "sent again",
  "outcome unknown",
  "not reported",
  "released",
  "taken up again",
  "dead letter tried again",
  "retry now",
  "cancelled",
  "deleted",
  "to be sent again",
  "outcome found out",
] as const;
export type EventName = (typeof eventNames)[number];

/** From then on the mail waited again. */
export const restarts: readonly EventName[] = [
  "released",
  "taken up again",
  "dead letter tried again",
];

interface Told {
  at: Date;
  by?: string | undefined;
  /** For a person: no program reads it. */
  detail?: string | undefined;
}

type FactsOf<E extends EventName> = E extends keyof EventFacts ? EventFacts[E] : object;

/** One entry of a mail's history. */
export type HistoryEntry = { [E in EventName]: Told & { event: E } & FactsOf<E> }[EventName];
export type EventOf<E extends EventName> = Extract<HistoryEntry, { event: E }>;

/** The newest entries that a record keeps. */
export const maxHistory = 60;
/** The longest text of an entry, and of a record's reason. */
const maxDetail = 1000;

const factSchema = z.string().max(64).optional();

/**
 * One entry as it lies in the database. A name or a fact that we do not know was written by another
 * version, or by hand: it stays as it is, and is equal to none of ours.
 */
export const historyEntrySchema = z.looseObject({
  at: z.date(),
  event: z.string().max(64),
  by: z.string().max(128).optional(),
  detail: z.string().max(maxDetail).optional(),
  cause: factSchema,
  task: factSchema,
  begun: z.boolean().optional(),
  statuses: z.record(z.string().max(64), z.number()).optional(),
  concerned: z.number().optional(),
  outcome: factSchema,
}) as unknown as z.ZodType<HistoryEntry>;

/** Who takes a step, and when by the database's clock. */
export interface Moment {
  now: Date;
  /** An actor's id or a person's name; undefined if nobody in particular does. */
  by?: string | undefined;
}

/** An entry for the history. */
export function entry<E extends EventName>(
  { now, by }: Moment,
  event: E,
  detail?: string,
  facts?: FactsOf<E>,
): EventOf<E> {
  return {
    at: now,
    event,
    ...(by !== undefined && { by }),
    ...(detail !== undefined && { detail: bounded(detail) }),
    ...facts,
  } as unknown as EventOf<E>;
}

/** The newest entry of this name. */
export function lastOf<E extends EventName>(
  history: readonly HistoryEntry[],
  event: E,
): EventOf<E> | undefined {
  return history.findLast((one): one is EventOf<E> => one.event === event);
}

/** As long as a record may have it. */
export function bounded(text: string): string {
  return text.slice(0, maxDetail);
}
