import type { MailRecord } from "../mail/record.ts";
import type { MailState } from "../life/states.ts";
import type { MailChange } from "../life/change.ts";
import type { Outcome } from "../life/outcomes.ts";
import type { OwnCheck } from "../checks/own-check.ts";
import { builtInTasks } from "../checks/verdict.ts";
import type { Holding } from "./holding.ts";

/** A mail with the right to work on it until `validUntilMs` (I3). */
export interface ClaimedMail {
  mail: MailRecord;
  /** Of this claim; every write has to present it. */
  holding: Holding;
  /** `monotonicMs` of our own clock, counted from before the claim was sent (I8). */
  validUntilMs: number;
}

/** What to claim. */
export interface Claim {
  states: readonly MailState[];
  /** The awaited task kind, `plan`, or a relay route. */
  next: string;
  /** At the most this many: the free credit or connection slots. */
  limit: number;
  /** None but these, of which a hint has told; no more than `limit`. */
  only?: readonly string[] | undefined;
  /** The claiming actor's id. */
  owner: string;
  leaseMs: number;
}

/** What to claim of the suspects: mail that too many holders in a row were never heard of again with. */
export interface SuspectClaim extends Pick<Claim, "states" | "owner" | "leaseMs"> {
  /** Any of these; undefined: whatever it waits for. */
  next?: readonly string[] | undefined;
}

/**
 * Something may be waiting: mail in `state` for `next`. What the change did not touch is undefined,
 * and both are where anything may have come (a stream that was lost, a source).
 */
export interface MailHint {
  /** The mail, if the hint is about one. */
  mailId?: string;
  state?: MailState;
  next?: string;
}

export interface WatchOptions {
  onHint: (hint: MailHint) => void;
  /** Changes were missed (I6). Default: a hint about nothing in particular. */
  onLost?: () => void;
  signal: AbortSignal;
}

/** What `find` looks for; all that is given must fit. */
export interface MailQuery {
  /** A recipient's or the sender's address, whatever its case. */
  to?: string;
  from?: string;
  /** With or without angle brackets. */
  messageId?: string;
  since?: Date;
  until?: Date;
  state?: MailState;
  /** Only those with an attempt whose outcome is unknown (I8). */
  unknown?: true;
  /** Only those of which nobody was told that they failed (I12). */
  unreported?: true;
  limit: number;
}

/** Mail that waits, per state and `next`. */
export interface Waiting {
  state: MailState;
  /** "" if the mail waits for a person. */
  next: string;
  count: number;
  /** When the oldest of them came in. */
  oldestAt: Date;
}

/** Mail in `incoming` and `processing`, in hand or not. */
export interface Backlog {
  count: number;
  /** When the oldest mail that no dispatcher has taken on was due; undefined: there is none. */
  untakenSince: Date | undefined;
}

/** What mail may wait for: a step of the dispatcher, a task of a worker, or the relay. */
const builtInWaits = ["plan", "retry", ...builtInTasks, "relay"] as const;
export type WaitTask = (typeof builtInWaits)[number] | OwnCheck;
/** The same with the checks that policies have brought. */
export function waitTasks(own: readonly OwnCheck[]): WaitTask[] {
  return [...builtInWaits, ...own];
}

/** Mail that is due for a task and in nobody's hands. */
export interface DueMail {
  count: number;
  /** When the oldest of them was due; undefined: there is none. */
  since: Date | undefined;
}

/** I1 in numbers, each counting recipients of the records that are there, by where they stand. */
export interface Conservation extends Record<Outcome, number> {
  /** Recipients of all mails that were accepted or adopted (not of DSNs, nor of a split's children). */
  accepted: number;
  /** `accepted` is the sum of all outcomes. */
  holds: boolean;
  /** The same for the DSNs that we made. */
  dsn: { sent: number; dead: number; open: number; other: number };
}

/** The only way to the records of mails. All methods throw RetryableError STORE_UNREACHABLE while the database is away. */
export interface MailStore {
  /**
   * Stores a new mail, majority and journaled, in one bulk with all others that wait. A mail whose id
   * is there already stays as it is. Its body must be durable before.
   */
  insert(mail: MailRecord): Promise<"inserted" | "present">;
  /** @throws TerminalError STORE_RECORD_INVALID; STORE_RECORD_NEWER: a newer release wrote it */
  get(id: string): Promise<MailRecord | undefined>;
  /**
   * Claims due mail in three round trips, whatever the number; in two if it is named, in one if it is one
   * mail. What does not parse becomes a dead letter on the way and is not returned.
   */
  claim(claim: Claim): Promise<ClaimedMail[]>;
  /**
   * Those of `next` for which mail in these states may be due and in nobody's hands: one question for all
   * that a service claims.
   */
  dueFor(asked: { states: readonly MailState[]; next: readonly string[] }): Promise<string[]>;
  /** Some suspect is due. `claim` leaves suspects out. */
  suspectWaits(claim: SuspectClaim): Promise<boolean>;
  /**
   * Claims the suspect that is due for the longest time, and writes `token` among its claims made
   * alone. A service that claims like this starts nothing beside it until it has reported that it lived through this.
   */
  claimSuspect(
    claim: SuspectClaim & { token: string; without: readonly string[] },
  ): Promise<ClaimedMail | undefined>;
  /** The holder by this token lives: its claim says nothing against the mail. May be told again. */
  livedThrough(claim: { token: string; owner: string }): Promise<void>;
  /**
   * Writes progress, guarded by the lease's token and the record's revision, in one bulk with all others
   * that wait. `stale`: the lease is another's, nothing was written (counted in `staleWrites`). The same
   * change object given again is the same write: after an error it may be asked for again, and is made once.
   */
  write(holding: Holding, change: MailChange): Promise<"written" | "stale">;
  /** Prolongs leases; the ids that are another's by now come back as `stale`. */
  renew(
    held: readonly Pick<Holding, "mailId" | "token">[],
    leaseMs: number,
  ): Promise<{ validUntilMs: number; stale: string[] }>;
  /**
   * A person's change: allowed only in these states, with `unleased` only while nobody holds the
   * mail, and with `seen` only while it is still the record that was read. A lease that has run out
   * ends with it, unless the change sets one of the person's own.
   */
  writeAs(
    mailId: string,
    guard: {
      states: readonly MailState[];
      unleased: boolean;
      seen?: Pick<MailRecord, "rev">;
    },
    change: MailChange,
  ): Promise<"written" | "refused">;
  /** The routes for which mail in this state waits, due or not. */
  routesWaiting(state: "ready" | "relaying"): Promise<string[]>;
  waiting(): Promise<Waiting[]>;
  /** What came in and has not passed its checks; it counts no further than `limit` + 1. */
  backlog(limit: number): Promise<Backlog>;
  /** More than so many mails that wait for one of these are due for longer and in nobody's hands, suspects aside. */
  isBehind(than: { next: readonly string[]; lateMs: number; mails: number }): Promise<boolean>;
  /** What waits for each task; none is counted further than `limit`. */
  due(limit: number, own?: readonly OwnCheck[]): Promise<Record<WaitTask, DueMail>>;
  /** Newest first. A record that does not parse is left out and logged. */
  find(query: MailQuery): Promise<MailRecord[]>;
  children(parentId: string): Promise<MailRecord[]>;
  /** How many mails there are in each state, by the claims index alone. */
  countStates(): Promise<Record<MailState, number>>;
  /** Reads every record: for a proof, tests and benches. */
  countOutcomes(): Promise<Conservation>;
  /**
   * Tells of new work for dispatchers by the change stream until the signal aborts. Never throws: it reopens what
   * breaks. The first hint comes immediately; those that follow it closely come together.
   */
  watch(options: WatchOptions): Promise<void>;
  /** Writes that found the lease to be another's, since the start. */
  readonly staleWrites: number;
  /** Records of a newer release that claims met within the last minute, and left alone. */
  readonly newerRecords: number;
}
