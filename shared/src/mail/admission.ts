import { headerFields } from "./header-fields.ts";
import { emptyTrace, loopIn, noteTrace, startsWithBlank } from "./received.ts";

/**
 * The most bytes of a mail's header, as it came, that each door takes and each later step can
 * process.
 */
export const maxHeaderBytes = 4 * 1024 * 1024;
/** The most fields of a header, counting lines that are not fields. */
export const maxHeaderFields = 5_000;

/** As the steps after the door see it, with our own trace on top. */
export const maxTracedHeaderBytes = maxHeaderBytes + 64 * 1024;

/**
 * Why a mail cannot be taken for any recipient: a reply to its client, or the reason of a dead
 * letter.
 */
export interface Objection {
  /** SMTP reply code (RFC 5321 §4.2). */
  code: number;
  /** Enhanced status code (RFC 3463). */
  status: string;
  text: string;
}

/** What every door checks in a canonical raw mail, before our own Received is put on top. */
export interface Limits {
  /** Our own name in Received fields. */
  hostname: string;
  maxMailBytes: number;
}

export function objectionTo(
  raw: Buffer,
  { hostname, maxMailBytes }: Limits,
): Objection | undefined {
  if (raw.length > maxMailBytes) return tooLarge(maxMailBytes);
  // Some servers leave the NUL out: one between CRLF and a dot would end the mail there and begin
  // another. Neither 7bit nor 8bit has one (RFC 2045 §2.7, §2.8).
  if (raw.includes(0)) return { code: 554, status: "5.6.0", text: "the mail has NUL characters" };
  return objectionToHeader(raw, hostname);
}

export function tooLarge(limit: number): Objection {
  return { code: 552, status: "5.3.4", text: `the mail is larger than ${limit} bytes` };
}

const headerTooLarge: Objection = {
  code: 552,
  status: "5.3.4",
  text: `the header is larger than ${maxHeaderBytes} bytes`,
};
const tooManyFields: Objection = {
  code: 552,
  status: "5.3.4",
  text: `the header has more than ${maxHeaderFields} fields`,
};

/**
 * One pass that stops at the first objection, so that a refused mail costs no more than one that is
 * taken.
 */
function objectionToHeader(raw: Buffer, ownName: string): Objection | undefined {
  // Such a mail has an empty header: see `receivedBefore`.
  if (startsWithBlank(raw)) return undefined;
  const trace = emptyTrace();
  let fields = 0;
  for (const field of headerFields(raw)) {
    fields += 1;
    if (field.end > maxHeaderBytes) return headerTooLarge;
    if (fields > maxHeaderFields) return tooManyFields;
    noteTrace(trace, raw, field, ownName);
    const why = loopIn(trace);
    if (why !== undefined) return { code: 554, status: "5.4.6", text: `mail loop: ${why}` };
  }
  return undefined;
}
