/**
 * Every error that the product names, with what the operator can do about it. The table is also
 * the reference page for operators: `code` is stable, the sentence may be improved.
 */
export const errorCodes = {
  CFG_INVALID: "a setting is missing or wrong; the message lists every one of them",
  CFG_BUS_UNPROTECTED: "the bus would leave this host without CURVE keys",
  CFG_BUS_KEYS:
    "a key file or the allow list of the bus is missing, wrong, or readable by others; the message names it",
  CFG_POLICY_INVALID: "a policy document or file is wrong; the message names the line or field",
  CFG_TARGET: "the load tool was pointed at a server that is not on this host, or at no server",
  BUS_FRAME_INVALID: "a message on the bus did not decode or did not fit its schema",
  BUS_BIND: "a mailbox cannot be bound: the address is taken or is not one of this host",
  BUS_ADDRESS: "an address of the bus is not tcp://host:port or ipc://path, or its name is unknown",
  BUS_DEADLINE: "a task was not answered within its deadline",
  BUS_MAIL_BUSY: "a worker is still at work on this mail for an earlier claim",
  BUS_CANCELLED: "a task was cancelled by its dispatcher",
  WORKER_HANDLER_FAILED: "a worker's handler threw, or answered what is not on the wire",
  WORKER_SPOOL:
    "a mail on the spool is not there, or has another size or SHA-256 than its task says",
  STORE_UNREACHABLE: "the database does not answer; everything waits until it does",
  STORE_RECORD_INVALID: "a record in the database fits no form that we know",
  STORE_RECORD_NEWER: "a record in the database was written by a newer release",
  STORE_BODY_MISSING: "a mail points to a body that is not in the database",
  STORE_BODY_CORRUPT: "a stored body has another size or SHA-256 than its mail says",
  STORE_WRITE_UNCERTAIN: "the database did not confirm a write and could not be asked again",
  STORE_WRITE_REFUSED: "the database refused a write because of its content; this is a bug of ours",
  LIFE_REFUSED: "a mail was to take a step that its state does not allow; this is a bug of ours",
  AV_ENGINE_AWAY: "clamd cannot be reached",
  AV_ENGINE_ERROR: "clamd answered something that its protocol does not have",
  AV_TIMEOUT: "clamd did not answer within the deadline",
  SPAM_ENGINE_AWAY: "spamd or rspamd cannot be reached",
  SPAM_ENGINE_ERROR: "spamd or rspamd cannot be asked, or answered what its protocol does not have",
  ENRICH_KEY_UNREADABLE: "a DKIM key cannot be read; the mail is held, never sent unsigned",
  ENRICH_SIGNATURE_INVALID: "our own signature did not verify over the bytes to be sent",
  ENRICH_GEOIP_UNREADABLE: "the GeoIP database cannot be read",
  RELAY_ROUTE_INVALID: "a relay route names no usable next hop or source address",
  INGEST_LISTEN: "the SMTP listener cannot be opened",
  HEALTH_LISTEN: "the HTTP port for health and metrics cannot be opened",
  CLI_NOT_FOUND: "there is no mail with this id (any more)",
  CLI_FILE: "a file that was named is not there or cannot be read; the message says why",
  CLI_REFUSED: "what was asked for is not possible in the mail's state; the message says why",
  CLI_SUBMIT_REFUSED: "the SMTP server did not take a mail",
  SETUP_MISSING: "a needed program is not installed, and we cannot install it",
  SETUP_FAILED: "a step of the set-up failed; the message says which and what to do",
} as const;

export type ErrorCode = keyof typeof errorCodes;

/** Base of all errors that we name. Never thrown itself: a `catch` branches on the two children. */
export abstract class RsError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
    this.name = new.target.name;
  }
}

/** May succeed later without anyone changing anything (a server that is away, a time-out). */
export class RetryableError extends RsError {}

/** Will not succeed until a person or another input changes something. */
export class TerminalError extends RsError {}

/** The message of anything that was thrown, for a log line or a reason field. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
