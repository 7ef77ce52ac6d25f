import type { Logger } from "@rs-agent/shared/logger.ts";
import type { AddressLogMode } from "@rs-agent/shared/mail/logged-address.ts";
import type { MailRecord, UnknownMark } from "@rs-agent/shared/mail/record.ts";
import type { Route } from "@rs-agent/shared/policy/route.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import type { Budget } from "./budget.ts";
import type { RelayCounts } from "./counts.ts";
import { fitnessFor } from "./hop-fitness.ts";
import type { HopSession, SessionFailure } from "./hop-session.ts";
import type { Lease } from "./leases.ts";
import type { NextHop } from "./next-hop.ts";
import { senderOf } from "@rs-agent/shared/mail/outcome-log.ts";
import { attemptNumber, isOpen } from "./outcomes.ts";
import type { OutgoingMail } from "./outgoing-bytes.ts";
import { isExpired } from "./schedule.ts";
import { untilAnswered, writeAndEnd } from "./settled-write.ts";
import { resultsOf, wasStale, type RecipientResult } from "./transcript.ts";
import { givenBack } from "./transitions.ts";
import { markChange } from "./unknown-outcome.ts";

export interface DeliveryDeps {
  database: Pick<Database, "mails" | "bodies" | "clock">;
  log: Logger;
  /** Our actor id. */
  by: string;
  /** Our name in reports. */
  hostname: string;
  logAddresses: AddressLogMode;
  longestTimeoutMs: number;
  /** Bytes of mail in memory. */
  bytes: Budget;
  counts: RelayCounts;
  /** Aborts when the relay takes nothing new: what has not begun is given back. */
  draining: AbortSignal;
  /** Aborts when the relay stops now. */
  closing: AbortSignal;
}

/** The route that a mail waits for, as its queue keeps it. */
export interface Way {
  hopFor(route: Route): NextHop;
  /** One for each transaction. */
  slots: Budget;
  /** Why the hop cannot be talked to, while it cannot. */
  failure(): SessionFailure | undefined;
  onHopFailed(failure: SessionFailure): void;
  onHopWorks(): void;
}

/** One claimed mail on its way out, from the claim to the write that ends our part in it. */
export interface Delivery {
  mail: MailRecord;
  lease: Lease;
  /** It may be tried although the route has failed: the one mail that finds out. */
  probe: boolean;
}

/** One attempt as it ended; `results` are of the mail's open recipients, in their order. */
export interface Attempted {
  hop: string;
  startedAt: Date;
  results: RecipientResult[];
  mark: UnknownMark | undefined;
}

/** Undefined where nothing was attempted and the mail is given back already, or not ours any more. */
export async function attempt(
  deps: DeliveryDeps,
  way: Way,
  delivery: Delivery,
  outgoing: OutgoingMail,
): Promise<Attempted | undefined> {
  const { mail, lease } = delivery;
  const startedAt = deps.database.clock.now();
  const hop = way.hopFor(mail.route as Route);
  for (;;) {
    const failure = way.failure();
    if (failure !== undefined && !delivery.probe) {
      return routeFailed(deps, delivery, failure, startedAt);
    }
    const acquired = await hop.acquire(lease.signal);
    if (lease.signal.aborted) {
      if (acquired.kind === "open") await hop.release(acquired.session, false);
      return undefined;
    }
    if (acquired.kind === "failed") {
      const known = way.failure() !== undefined && !delivery.probe;
      way.onHopFailed(acquired.failure);
      if (known) return routeFailed(deps, delivery, acquired.failure, startedAt);
      return deferredBy(mail, acquired.failure, startedAt);
    }
    way.onHopWorks();
    const done = await transact(deps, hop, delivery, outgoing, acquired);
    if (done === "stale session") continue;
    return done === "not ours" ? undefined : { ...done, startedAt };
  }
}

/** Others found the route to have failed: this mail has lost nothing but its turn, unless its time is over. */
async function routeFailed(
  deps: DeliveryDeps,
  delivery: Delivery,
  failure: SessionFailure,
  startedAt: Date,
): Promise<Attempted | undefined> {
  const { mail, lease } = delivery;
  if (isExpired(mail, startedAt)) return deferredBy(mail, failure, startedAt);
  await writeAndEnd(deps, lease, givenBack(mail));
  return undefined;
}

function deferredBy(mail: MailRecord, failure: SessionFailure, startedAt: Date): Attempted {
  const { host, port } = mail.route as Route;
  const result: RecipientResult = { kind: "deferred", ...failure };
  const results = mail.recipients.filter(isOpen).map(() => result);
  return { hop: `${host}:${port}`, startedAt, results, mark: undefined };
}

/** The transaction, with the mark of I8 written before it. */
async function transact(
  deps: DeliveryDeps,
  hop: NextHop,
  { mail, lease }: Delivery,
  outgoing: OutgoingMail,
  acquired: { session: HopSession; reused: boolean },
): Promise<Omit<Attempted, "startedAt"> | "stale session" | "not ours"> {
  const { session, reused } = acquired;
  const open = mail.recipients.filter(isOpen);
  const fitness = fitnessFor(session.abilities, outgoing, senderOf(mail));
  const unfit = open.map(({ address }) => fitness.mail ?? fitness.recipient(address));
  const asked = open.filter((_, index) => unfit[index] === undefined).map(({ address }) => address);
  if (asked.length === 0) {
    await hop.release(session, false);
    const results = unfit.filter((result) => result !== undefined);
    return { hop: session.name, results, mark: undefined };
  }
  const mark = newMark(deps, mail, session, asked);
  if (!(await marked(deps, mail, lease, mark))) {
    await hop.release(session, false);
    return "not ours";
  }
  const onLost = () => session.destroy("the lease is over");
  lease.signal.addEventListener("abort", onLost);
  const transcript = await session.transact({
    mailFrom: senderOf(mail),
    recipients: asked,
    mail: outgoing,
    mayBegin: () => lease.isValid(),
  });
  lease.signal.removeEventListener("abort", onLost);
  await hop.release(session, !transcript.bodyEnded);
  if (wasStale(transcript, reused)) return "stale session";
  const said = resultsOf(transcript, asked.length, hop.route.protocol).values();
  const results = unfit.map((result) => result ?? (said.next().value as RecipientResult));
  return { hop: session.name, results, mark };
}

function newMark(
  deps: DeliveryDeps,
  mail: MailRecord,
  session: HopSession,
  recipients: string[],
): UnknownMark {
  return {
    attempt: attemptNumber(mail),
    connection: session.name,
    recipients,
    at: deps.database.clock.now(),
    relay: deps.by,
  };
}

/** Writes the mark; false where the transaction must not begin. */
async function marked(
  deps: DeliveryDeps,
  mail: MailRecord,
  lease: Lease,
  mark: UnknownMark,
): Promise<boolean> {
  const { mails } = deps.database;
  const change = markChange(mail, mark);
  const written = await untilAnswered(
    () => mails.write(mail._id, lease.token, change),
    deps.log,
    deps.closing,
  );
  if (written === "stale") deps.counts.staleMails += 1;
  if (written !== "written") return false;
  if (lease.isValid()) {
    if (mail.unknown !== undefined) deps.counts.resentMails += 1;
    return true;
  }
  // Nothing was begun: say so, unless another has claimed the mail meanwhile.
  const back = { ...givenBack({ ...mail, unknown: undefined }), unset: ["unknown"] };
  await writeAndEnd(deps, lease, back);
  return false;
}
