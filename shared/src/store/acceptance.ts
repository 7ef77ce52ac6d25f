import { isAscii } from "node:buffer";
import { objectionTo, type Limits, type Objection } from "../mail/admission.ts";
import { headerSummary } from "../mail/header-summary.ts";
import { receivedBefore, type ReceivedProtocol } from "../mail/received.ts";
import type { Given } from "../life/beginnings.ts";
import type { BodyRef, MailRecord } from "../mail/record.ts";
import type { SmtpEnvelope } from "../mail/smtp-envelope.ts";

/** A mail that has come in whole by one of the doors. */
export interface Arrival extends Required<Pick<MailRecord, "origin" | "direction">> {
  mailId: string;
  /** As it came, made canonical (canonical.ts). */
  canonical: Buffer;
  /** Its recipients are those that were judged to be taken (recipient.ts), each once. */
  smtp: SmtpEnvelope;
  protocol: ReceivedProtocol;
  at: Date;
  /** Puts the trace before the mail; default: in a new buffer. */
  traced?: (trace: Buffer, canonical: Buffer) => Buffer;
}

export interface Hall<Kept> extends Limits {
  /** Makes its bytes durable, and then a durable record of what is given for them. */
  store: (raw: Buffer, mailOf: (body: BodyRef) => Given) => Promise<Kept>;
}

/**
 * What follows behind every door: SMTP or LMTP, and a source in MongoDB. The mail is judged, gets our
 * trace, its body is stored, and then exactly one record (I1). Where its recipients' policies differ,
 * the dispatcher that holds it splits it.
 */
export function acceptMail<Kept>(
  arrival: Arrival,
  hall: Hall<Kept>,
): { objection: Objection } | { size: number; kept: Promise<Kept> } {
  const { canonical, traced = concatenated } = arrival;
  const objection = objectionTo(canonical, hall);
  if (objection !== undefined) return { objection };
  const bytes = traced(traceOf(arrival, hall.hostname), canonical);
  const kept = hall.store(bytes, (body) => mailOf(arrival, bytes, body));
  return { size: bytes.length, kept };
}

function concatenated(trace: Buffer, canonical: Buffer): Buffer {
  return Buffer.concat([trace, canonical]);
}

function traceOf({ canonical, smtp, protocol, mailId, at }: Arrival, by: string): Buffer {
  const [only, another] = smtp.rcptTo;
  return receivedBefore(canonical, {
    client: smtp.client,
    by,
    protocol,
    mailId,
    at,
    ...(only !== undefined && another === undefined && { forRecipient: only }),
  });
}

function mailOf(arrival: Arrival, bytes: Buffer, body: MailRecord["body"]): Given {
  const { mailId, at, origin, direction, smtp } = arrival;
  // Mail programs send 8-bit bytes without saying so; the next hop has to be told (RFC 6152 §3).
  const isEightBit = smtp.params?.body === "8BITMIME" || !isAscii(bytes);
  return {
    _id: mailId,
    origin,
    smtp: { ...smtp, params: { body: isEightBit ? "8BITMIME" : "7BIT" } },
    receivedAt: at,
    body,
    header: { ...headerSummary(bytes) },
    direction,
  };
}
