import type { Budget } from "@rs-agent/shared/budget.ts";
import { messageOf, RetryableError, RsError } from "@rs-agent/shared/errors.ts";
import { died, held } from "@rs-agent/shared/life/endings.ts";
import type { DeathCause } from "@rs-agent/shared/life/events.ts";
import { ends, isOpen } from "@rs-agent/shared/life/outcomes.ts";
import { planLost, unsent } from "@rs-agent/shared/life/relaying.ts";
import { sendDsn } from "@rs-agent/shared/life/report.ts";
import type { FailedRecipient } from "@rs-agent/shared/mail/dsn.ts";
import type {
  ProvenSender,
  SenderProof,
} from "@rs-agent/shared/mail/authentication/sender-proof.ts";
import { isPlanLost, type MailRecord } from "@rs-agent/shared/mail/record.ts";
import type { MailChange } from "@rs-agent/shared/life/change.ts";
import { whyPoison } from "@rs-agent/shared/store/poison.ts";
import { attempt, type Attempted, type Delivery, type DeliveryDeps, type Way } from "./attempt.ts";
import { logOutcomes } from "@rs-agent/shared/mail/outcome-log.ts";
import { settle, type AttemptOutcome } from "./outcomes.ts";
import { loadOutgoing, outgoingSize, type OutgoingMail } from "./outgoing-bytes.ts";
import { isExpired } from "./schedule.ts";
import { provenSender } from "./proven-sender.ts";
import { untilAnswered, writeAndEnd } from "./settled-write.ts";
import { resolveMark } from "./unknown-outcome.ts";

/** Never rejects except for a bug. The mail is written, given back, or left to its lease's end. */
export async function deliver(deps: DeliveryDeps, way: Way, delivery: Delivery): Promise<void> {
  const { mail, lease } = delivery;
  const now = deps.database.clock.now();
  const instead = insteadOfSending(deps, way, delivery, now);
  if (instead !== undefined) return writeAndEnd(deps, lease, instead);
  const giveBytes = await taken(deps, lease, deps.bytes, outgoingSize(mail));
  if (giveBytes === undefined) return abandon(deps, delivery);
  try {
    const outgoing = await load(deps, delivery);
    const giveSlot = outgoing && (await taken(deps, lease, way.slots, 1));
    if (outgoing === undefined) return;
    if (giveSlot === undefined) {
      await abandon(deps, delivery);
      return;
    }
    const attempted = await attempt(deps, way, delivery, outgoing).finally(giveSlot);
    if (attempted !== undefined) await conclude(deps, delivery, outgoing, attempted);
  } finally {
    giveBytes();
    lease.end();
  }
}

/** Undefined if the lease is over or we drain before it is there. Only who must wait pays for signals. */
async function taken(
  { draining }: DeliveryDeps,
  { signal }: Delivery["lease"],
  budget: Budget,
  amount: number,
): Promise<(() => void) | undefined> {
  if (signal.aborted || draining.aborted) return undefined;
  return budget.takeNow(amount) ?? budget.take(amount, AbortSignal.any([signal, draining]));
}

/** What is to be written instead of an attempt, or undefined: it may begin. */
function insteadOfSending(
  deps: DeliveryDeps,
  way: Way,
  { mail, lease, probe }: Delivery,
  now: Date,
): MailChange | undefined {
  const { by, longestTimeoutMs } = deps;
  const resolution = resolveMark(mail, now, by, longestTimeoutMs);
  if (resolution.kind === "wait") return resolution.change;
  const poison = whyPoison(mail, lease.holding.token);
  if (poison !== undefined) {
    const unknown = "; the outcome of its last attempt is unknown";
    const reason = resolution.kind === "resend" ? poison + unknown : poison;
    return dead(deps, mail, "services-ended", reason, now);
  }
  if (isPlanLost(mail)) return planLost(mail, undefined);
  if (mail.route === undefined)
    return dead(deps, mail, "incomplete", "RELAY_ROUTE_INVALID: no route", now);
  if (!mail.recipients.some(isOpen)) {
    return dead(deps, mail, "incomplete", "it has no open recipient", now);
  }
  if (mail.origin.scanOnly === true) {
    return keptBack(mail, "a scan-only mail is not relayed", now, by);
  }
  const unsigned = missingSignature(mail);
  if (unsigned !== undefined) return keptBack(mail, unsigned, now, by);
  if (way.failure() !== undefined && !probe && !isExpired(mail, now)) return unsent(mail, {});
  return undefined;
}

/** I10, once more at the last gate. */
function missingSignature({ plan, enriched }: MailRecord): string | undefined {
  const demanded = plan?.demandedSignature;
  if (demanded === undefined) return undefined;
  const { domain, selector } = enriched?.signature ?? {};
  if (domain === demanded.domain && selector === demanded.selector) return undefined;
  return `the signature d=${demanded.domain} s=${demanded.selector} is missing`;
}

function keptBack(mail: MailRecord, reason: string, now: Date, by: string): MailChange {
  return held(mail, { cause: "not-to-be-sent", reason, now, by });
}

function dead(
  deps: DeliveryDeps,
  mail: MailRecord,
  cause: DeathCause,
  reason: string,
  now: Date,
): MailChange {
  const outcomes = mail.recipients
    .filter(isOpen)
    .map(
      ({ address }) => ({ address, status: "dead", dsn: ends.dead.status, reply: reason }) as const,
    );
  deps.counts.dead += outcomes.length;
  logOutcomes(deps.log, deps.logAddresses, mail, "none", outcomes, now);
  return died(mail, { cause, reason, now, by: deps.by });
}

async function load(deps: DeliveryDeps, delivery: Delivery): Promise<OutgoingMail | undefined> {
  const { mail, lease } = delivery;
  try {
    return await loadOutgoing(mail, (ref) => deps.database.bodies.get(ref));
  } catch (error) {
    if (!(error instanceof RsError)) throw error;
    const now = deps.database.clock.now();
    if (error instanceof RetryableError) {
      deps.log.warn({ mailId: mail._id, reason: messageOf(error) }, "mail not read, tried again");
      await writeAndEnd(deps, lease, unsent(mail, { dueAt: new Date(now.getTime() + 5_000) }));
    } else {
      const reason = `${error.code}: ${messageOf(error)}`;
      await writeAndEnd(deps, lease, dead(deps, mail, "incomplete", reason, now));
    }
    return undefined;
  }
}

/** Judges, reports to the sender what failed for good, writes. */
async function conclude(
  deps: DeliveryDeps,
  delivery: Delivery,
  outgoing: OutgoingMail,
  { mail, hop, startedAt, results, mark }: Attempted,
): Promise<void> {
  const { lease } = delivery;
  const now = deps.database.clock.now();
  const ended = {
    mail,
    results,
    hop,
    startedAt,
    now,
    by: deps.by,
    longestTimeoutMs: deps.longestTimeoutMs,
    mark,
  };
  const { bounce, ...known } = settle(ended);
  // Without its report the outcome is not final: another relay finds the mail when the lease is over.
  const proof = bounce.length === 0 ? undefined : await provenSender(deps, delivery);
  if (bounce.length > 0 && proof === undefined) return;
  const { change, outcomes } = proof?.kind === "unproven" ? settle({ ...ended, proof }) : known;
  logOutcomes(deps.log, deps.logAddresses, mail, hop, outcomes, now);
  count(deps.counts, outcomes, proof);
  if (proof?.kind === "proven" && !(await report(deps, mail, outgoing, bounce, proof, now))) return;
  await writeAndEnd(deps, lease, change);
}

function count(
  counts: DeliveryDeps["counts"],
  outcomes: readonly AttemptOutcome[],
  proof: SenderProof | undefined,
): void {
  for (const { status, report } of outcomes) {
    counts[status] += 1;
    if (report === "none" && proof?.kind === "unproven") counts.unreported[proof.why] += 1;
  }
}

/** Tells the sender; true once that is durable. */
async function report(
  deps: DeliveryDeps,
  mail: MailRecord,
  outgoing: OutgoingMail,
  failed: FailedRecipient[],
  proof: ProvenSender,
  now: Date,
): Promise<boolean> {
  const [first = Buffer.alloc(0), second = Buffer.alloc(0)] = outgoing.chunks;
  const original = Buffer.concat([first.subarray(0, 100_000), second.subarray(0, 100_000)]);
  const expired = failed.every(({ status }) => status === "4.4.7");
  const reason = expired ? "its time in the queue is over" : "the next mail server refused it";
  const { hostname: reportingMta, database } = deps;
  const request = { mail, failed, proof, reason, original, reportingMta, now };
  const id = await untilAnswered(() => sendDsn(database, request), deps.log, deps.closing);
  if (id === undefined) return false;
  deps.log.info({ mailId: mail._id, reportId: id }, "report made");
  return true;
}

/** Not begun: given back when we drain; a lost lease has another holder soon. */
async function abandon(deps: DeliveryDeps, { mail, lease }: Delivery): Promise<void> {
  if (lease.isValid()) await writeAndEnd(deps, lease, unsent(mail, {}));
  else lease.end();
}
