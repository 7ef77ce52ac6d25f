import type { Budget } from "@rs-agent/shared/budget.ts";
import { isOpen } from "@rs-agent/shared/life/outcomes.ts";
import { unsent } from "@rs-agent/shared/life/relaying.ts";
import type { Logger } from "@rs-agent/shared/logger.ts";
import type { SenderCheck } from "@rs-agent/shared/mail/authentication/sender-proof.ts";
import type { AddressLogMode } from "@rs-agent/shared/mail/logged-address.ts";
import type { MailRecord, UnknownMark } from "@rs-agent/shared/mail/record.ts";
import type { Route } from "@rs-agent/shared/mail/route.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import type { RelayCounts } from "./counts.ts";
import type { SessionFailure } from "./hop-session.ts";
import type { Lease } from "./leases.ts";
import type { NextHop } from "./next-hop.ts";
import type { OutgoingMail } from "./outgoing-bytes.ts";
import { isExpired } from "./schedule.ts";
import { writeAndEnd } from "./settled-write.ts";
import { transactOn } from "./transactions.ts";
import type { RecipientResult } from "./transcript.ts";

export interface DeliveryDeps {
  database: Pick<Database, "mails" | "bodies" | "clock">;
  log: Logger;
  /** Our actor id. */
  by: string;
  /** Our name in reports. */
  hostname: string;
  logAddresses: AddressLogMode;
  longestTimeoutMs: number;
  /** Whether the sender of a failed mail may get a report (I12). */
  senders: SenderCheck;
  /** One for each stored mail that is read to verify its signatures. */
  readings: Budget;
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
  /** Why the hop cannot be reached, while it cannot. */
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

/**
 * One attempt, under way or as it ended: one transaction, or several if the hop takes only so many
 * recipients in each.
 */
export interface Attempted {
  /** As last written: who has the mail from an earlier transaction of this attempt is in it. */
  mail: MailRecord;
  hop: string;
  readonly startedAt: Date;
  /** By the recipient's place in the record; of those that are not in `mail` yet. */
  readonly results: Map<number, RecipientResult>;
  /** Whom to offer in the next transaction, by place. */
  places: number[];
  mark: UnknownMark | undefined;
}

/** Undefined if nothing was attempted and the mail is given back already, or not ours any more. */
export async function attempt(
  deps: DeliveryDeps,
  way: Way,
  delivery: Delivery,
  outgoing: OutgoingMail,
): Promise<Attempted | undefined> {
  const { mail, lease } = delivery;
  const hop = way.hopFor(mail.route as Route);
  const attempted = begin(mail, deps.database.clock.now());
  /** What an earlier transaction of this attempt was told stays so, whatever becomes of the rest. */
  const soFar = () => (attempted.results.size > 0 ? attempted : undefined);
  for (;;) {
    const failure = way.failure();
    if (failure !== undefined && !delivery.probe) {
      return soFar() ?? routeFailed(deps, delivery, failure, attempted);
    }
    const acquired = await hop.acquire(lease.signal);
    if (lease.signal.aborted) {
      if (acquired.kind === "open") await hop.release(acquired.session);
      return soFar();
    }
    if (acquired.kind === "failed") {
      const known = way.failure() !== undefined && !delivery.probe;
      way.onHopFailed(acquired.failure);
      if (known) return soFar() ?? routeFailed(deps, delivery, acquired.failure, attempted);
      return soFar() ?? deferredBy(attempted, acquired.failure);
    }
    way.onHopWorks();
    const end = await transactOn(deps, hop, delivery, outgoing, acquired, attempted);
    if (end === "session over") continue;
    return end === "not ours" ? undefined : attempted;
  }
}

function begin(mail: MailRecord, startedAt: Date): Attempted {
  const { host, port } = mail.route as Route;
  const places = mail.recipients.flatMap((recipient, at) => (isOpen(recipient) ? [at] : []));
  return {
    mail,
    hop: `${host}:${port}`,
    startedAt,
    results: new Map(),
    places,
    mark: undefined,
  };
}

/** Others found the route to have failed: this mail has lost nothing but its turn, unless its time is over. */
async function routeFailed(
  deps: DeliveryDeps,
  delivery: Delivery,
  failure: SessionFailure,
  attempted: Attempted,
): Promise<Attempted | undefined> {
  const { mail, lease } = delivery;
  if (isExpired(mail, attempted.startedAt)) return deferredBy(attempted, failure);
  await writeAndEnd(deps, lease, unsent(mail, {}));
  return undefined;
}

/** No transaction came of it. */
function deferredBy(attempted: Attempted, failure: SessionFailure): Attempted {
  const result: RecipientResult = { kind: "deferred", ...failure };
  const results = new Map(attempted.places.map((place) => [place, result]));
  return { ...attempted, results, mark: undefined };
}
