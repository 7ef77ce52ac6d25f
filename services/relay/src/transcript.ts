import type { Route } from "@rs-agent/shared/mail/route.ts";
import { replyClass, statusOf, type Reply } from "./reply.ts";

/**
 * What was seen of one transaction, on our own sockets and streams: the replies in the order in
 * which they came (MAIL, each RCPT, DATA, then the final one, for LMTP one for each accepted
 * recipient), and how far our own body stream was read.
 */
export interface Transcript {
  replies: readonly Reply[];
  /** The body's first byte was taken from us (I8). */
  bodyBegun: boolean;
  /** Its last one was. */
  bodyEnded: boolean;
  /** What ended it, if that was not the last reply: `connection reset`, `no reply within …`. */
  lost: string | undefined;
}

/** What became of one recipient in one attempt. */
export type RecipientResult =
  /** 2yz. */
  | { kind: "sent"; status: string; reply: Reply }
  /** 5yz, or something about the mail that this hop will never take. */
  | { kind: "refused"; status: string; reply: Reply }
  /** 4yz, or the network: surely not taken, may be later. */
  | { kind: "deferred"; status: string; reply: Reply }
  /** The body was begun and no final reply came: the hop may have it or not (I8). */
  | { kind: "unknown"; detail: string };

/** Each recipient's result, in the order in which they were named in the transaction. Pure. */
export function resultsOf(
  transcript: Transcript,
  recipientCount: number,
  protocol: Route["protocol"],
): RecipientResult[] {
  const [mail, ...after] = transcript.replies;
  if (mail === undefined) return all(recipientCount, lostBeforeBody(transcript));
  if (replyClass(mail) !== 2) return all(recipientCount, rejection(mail));

  const rcpt = after.slice(0, recipientCount);
  const data = after[recipientCount];
  const final = after.slice(recipientCount + 1);
  let accepted = 0;
  return Array.from({ length: recipientCount }, (_, index) => {
    const own = rcpt[index];
    if (own === undefined) return lostBeforeBody(transcript);
    if (replyClass(own) !== 2) return recipientRejection(own);
    const place = protocol === "lmtp" ? accepted : 0;
    accepted += 1;
    if (!transcript.bodyBegun) {
      return data === undefined || isGoAhead(data) ? lostBeforeBody(transcript) : rejection(data);
    }
    return finalResult(transcript, final[place]);
  });
}

function finalResult(transcript: Transcript, final: Reply | undefined): RecipientResult {
  if (final === undefined) {
    return { kind: "unknown", detail: transcript.lost ?? "no final reply" };
  }
  if (replyClass(final) !== 2) return rejection(final);
  // A 2yz before our last byte went out answers something else than the whole mail.
  if (!transcript.bodyEnded) return { kind: "unknown", detail: `early reply: ${final}` };
  return { kind: "sent", status: statusOf(final), reply: final };
}

/** A reply that is not 2yz. 421 and what no reply should be say nothing against the mail itself. */
function rejection(reply: Reply): RecipientResult {
  const kind = replyClass(reply) === 5 ? "refused" : "deferred";
  const status = replyClass(reply) === 5 || replyClass(reply) === 4 ? statusOf(reply) : "4.5.0";
  return { kind, status, reply };
}

/**
 * A recipient that is not taken. 552 here means 452, too many recipients, and so does whatever says
 * X.5.3 (RFC 5321 §4.5.3.1.10, RFC 3463 §3.6): temporary, and no word against this one.
 */
function recipientRejection(reply: Reply): RecipientResult {
  const result = rejection(reply);
  if (result.kind !== "refused") return result;
  if (!reply.startsWith("552") && !isTooMany(result.status)) return result;
  return { kind: "deferred", status: result.status.replace(/^5/, "4"), reply };
}

function isTooMany(status: string): boolean {
  return status.endsWith(".5.3");
}

/**
 * Whom to offer again immediately, in a transaction of their own: those for whom this one had no room any
 * more, after it took others. None if it got no further with anybody: then they wait for the retry.
 */
export function leftOver(transcript: Transcript, results: readonly RecipientResult[]): number[] {
  const rcpt = transcript.replies.slice(1, results.length + 1);
  const isTaken = rcpt.map((reply) => replyClass(reply) === 2);
  const ended = results.filter(
    ({ kind }, at) => isTaken[at] && (kind === "sent" || kind === "refused"),
  );
  // What is unknown must be written as unknown, and nothing else is begun before.
  if (ended.length === 0 || results.some(({ kind }) => kind === "unknown")) return [];
  const first = isTaken.indexOf(true);
  return results.flatMap((_, at) => (at > first && isNoRoom(rcpt[at] ?? "") ? [at] : []));
}

function isNoRoom(reply: Reply): boolean {
  const status = statusOf(reply);
  if (isTooMany(status)) return true;
  // RFC 3463 §3.3: X.2.Z is about the mailbox itself, most often a full one.
  return /^[45]52/.test(reply) && !/^.\.2\./.test(status);
}

/** 2yz counts too: some servers answer DATA so, and the client goes on. */
function isGoAhead(data: Reply): boolean {
  return replyClass(data) === 3 || replyClass(data) === 2;
}

/** A connection that ended while nothing of the body was sent; what its last 4yz said, if that ended it. */
function lostBeforeBody(transcript: Transcript): RecipientResult {
  const last = transcript.replies.at(-1);
  if (last?.startsWith("421") === true) return rejection(last);
  return { kind: "deferred", status: "4.4.2", reply: transcript.lost ?? "connection lost" };
}

function all(count: number, result: RecipientResult): RecipientResult[] {
  return Array.from({ length: count }, () => result);
}

/**
 * Whether the session that was taken from the pool had been ended by the hop before it heard of
 * this mail: nothing was said about the mail, another connection may be asked immediately.
 */
export function wasStale(transcript: Transcript, reused: boolean): boolean {
  const { replies, bodyBegun, lost } = transcript;
  if (!reused || bodyBegun) return false;
  const [first] = replies;
  return first === undefined ? lost !== undefined : first.startsWith("421");
}
