import { logOutcomes, senderOf } from "@rs-agent/shared/mail/outcome-log.ts";
import type { MailRecord, UnknownMark } from "@rs-agent/shared/mail/record.ts";
import { attemptNumber, marked as markedBy, unsent } from "@rs-agent/shared/life/relaying.ts";
import type { MailChange } from "@rs-agent/shared/life/change.ts";
import type { Attempted, Delivery, DeliveryDeps } from "./attempt.ts";
import { fitnessFor } from "./hop-fitness.ts";
import type { HopSession } from "./hop-session.ts";
import type { NextHop } from "./next-hop.ts";
import { goOn } from "./outcomes.ts";
import type { OutgoingMail } from "./outgoing-bytes.ts";
import { untilAnswered, writeAndEnd } from "./settled-write.ts";
import { leftOver, resultsOf, wasStale, type Transcript } from "./transcript.ts";

/**
 * The transactions of one attempt that one session takes. A hop has room for so many recipients in
 * each (RFC 5321 §4.5.3.1.10: 100 at least); the others are offered again immediately, each time with what
 * is known and the next mark written first (I8), for as long as that gets further.
 *
 * `session over`: nothing was said of those who are still to be offered, another session may be asked.
 */
export async function transactOn(
  deps: DeliveryDeps,
  hop: NextHop,
  { lease }: Delivery,
  outgoing: OutgoingMail,
  { session, reused }: { session: HopSession; reused: boolean },
  attempted: Attempted,
): Promise<"done" | "session over" | "not ours"> {
  for (let wasUsed = reused; ; wasUsed = true) {
    const asked = fitPlaces(attempted, session, outgoing);
    if (asked.length === 0) {
      attempted.hop = session.name;
      await hop.release(session);
      return "done";
    }
    if (!(await marked(deps, lease, attempted, session, asked))) {
      await hop.release(session);
      return "not ours";
    }
    const transcript = await transact(attempted, session, outgoing, lease, asked);
    const isOver = wasStale(transcript, wasUsed);
    if (!isOver) take(attempted, asked, transcript, session);
    if (isOver || attempted.places.length === 0 || !lease.isValid()) {
      await hop.release(session);
      return isOver ? "session over" : "done";
    }
    if (await session.reset()) continue;
    await hop.release(session);
    return "session over";
  }
}

/** Whom this hop can be asked for; of the others it is known already that it cannot take them. */
function fitPlaces(attempted: Attempted, session: HopSession, outgoing: OutgoingMail): number[] {
  const { mail, places, results } = attempted;
  const fitness = fitnessFor(session.abilities, outgoing, senderOf(mail));
  return places.filter((place) => {
    const unfit = fitness.mail ?? fitness.recipient(addressAt(mail, place));
    if (unfit !== undefined) results.set(place, unfit);
    return unfit === undefined;
  });
}

async function transact(
  { mail }: Attempted,
  session: HopSession,
  outgoing: OutgoingMail,
  lease: Delivery["lease"],
  asked: readonly number[],
): Promise<Transcript> {
  const onLost = () => session.destroy("the lease is over");
  lease.signal.addEventListener("abort", onLost);
  const transcript = await session.transact({
    mailFrom: senderOf(mail),
    recipients: asked.map((place) => addressAt(mail, place)),
    mail: outgoing,
    mayBegin: () => lease.isValid(),
  });
  lease.signal.removeEventListener("abort", onLost);
  return transcript;
}

/** What was said of each, and who is to be offered again. */
function take(
  attempted: Attempted,
  asked: readonly number[],
  transcript: Transcript,
  session: HopSession,
): void {
  attempted.hop = session.name;
  const said = resultsOf(transcript, asked.length, session.protocol);
  for (const [at, result] of said.entries()) attempted.results.set(asked[at] as number, result);
  attempted.places = leftOver(transcript, said).map((at) => asked[at] as number);
}

/** Writes the mark, with who has the mail by now; false if the transaction must not begin. */
async function marked(
  deps: DeliveryDeps,
  lease: Delivery["lease"],
  attempted: Attempted,
  session: HopSession,
  asked: readonly number[],
): Promise<boolean> {
  const { mail } = attempted;
  const mark: UnknownMark = {
    attempt: attemptNumber(mail),
    connection: session.name,
    recipients: asked.map((place) => addressAt(mail, place)),
    at: deps.database.clock.now(),
    relay: deps.by,
  };
  const isFirst = attempted.mark === undefined;
  const change = isFirst ? markedBy(mail, { mark }) : goneOn(deps, attempted, mark);
  const written = await untilAnswered(
    () => deps.database.mails.write(lease.holding, change),
    deps.log,
    deps.closing,
  );
  if (written === "stale") deps.counts.staleMails += 1;
  if (written !== "written") return false;
  attempted.mark = mark;
  if (lease.isValid()) {
    if (isFirst && mail.unknown !== undefined) deps.counts.resentMails += 1;
    return true;
  }
  // Nothing was begun: say so, unless another has claimed the mail meanwhile.
  await writeAndEnd(deps, lease, unsent(mail, { takesMarkBack: true }));
  return false;
}

/** Those who have it are done with: logged, counted, and in the record with this change. */
function goneOn(deps: DeliveryDeps, attempted: Attempted, mark: UnknownMark): MailChange {
  const { mail, hop, results } = attempted;
  const { by, longestTimeoutMs } = deps;
  const now = mark.at;
  const { change, recipients, outcomes } = goOn({ ...attempted, now, by, longestTimeoutMs }, mark);
  logOutcomes(deps.log, deps.logAddresses, mail, hop, outcomes, now);
  deps.counts.sent += outcomes.length;
  for (const [place, { kind }] of results) if (kind === "sent") results.delete(place);
  attempted.mail = { ...mail, recipients };
  return change;
}

function addressAt(mail: MailRecord, place: number): string {
  return mail.recipients[place]?.address ?? "";
}
