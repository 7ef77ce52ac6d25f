import { isAscii } from "node:buffer";
import { messageOf } from "@rs-agent/shared/errors.ts";
import { newMailId } from "@rs-agent/shared/ids.ts";
import { accepted } from "@rs-agent/shared/life/beginnings.ts";
import type { Logger } from "@rs-agent/shared/logger.ts";
import { headerSummary } from "@rs-agent/shared/mail/header-summary.ts";
import { loggedAddress, type AddressLogMode } from "@rs-agent/shared/mail/logged-address.ts";
import { objectionTo } from "@rs-agent/shared/mail/admission.ts";
import { receivedBefore } from "@rs-agent/shared/mail/received.ts";
import type { BodyRef, MailRecord } from "@rs-agent/shared/mail/record.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import type { RawMail } from "./raw-mail.ts";
import type { Refusal } from "./reply.ts";
import { refuse } from "./reply.ts";
import type { Transaction } from "./transaction.ts";

export interface AcceptanceDeps {
  database: Pick<Database, "bodies" | "mails" | "clock">;
  /** Our name in Received fields, by which loops are seen. */
  hostname: string;
  actorId: string;
  maxMailBytes: number;
  /** What becomes of NUL characters (`INGEST_NUL`). */
  nul: "refuse" | "remove";
  /** From the end of the mail to the 451. */
  storeTimeoutMs: number;
  /** The store did not take a mail: until it is heard of again nothing more need come in. */
  onStoreAway: () => void;
  addresses: AddressLogMode;
  log: Logger;
}

/**
 * Accepts a mail that has come in whole: canonical, with our Received field, body first and record
 * second, both durable before it returns (I1). Within `storeTimeoutMs` it says that the mail is
 * queued or why not; what the database does after that may leave a body without a mail, or a mail
 * that the client will send again, but never loses one.
 *
 * `raw` belongs to this function until `settled`; it is not released here.
 */
export function accept(
  transaction: Transaction,
  raw: RawMail,
  deps: AcceptanceDeps,
): { result: Promise<{ queuedAs: string } | Refusal>; settled: Promise<void> } {
  const canonical = raw.canonical({ dropNul: deps.nul === "remove" });
  const refusal = refusalOf(canonical, deps);
  if (refusal !== undefined) {
    return { result: Promise.resolve(refusal), settled: Promise.resolve() };
  }
  const mailId = newMailId();
  const receivedAt = deps.database.clock.now();
  const field = traceOf(canonical, transaction, mailId, receivedAt, deps.hostname);
  const bytes = raw.withReceived(field, canonical);
  const deadline = new AbortController();
  const stored = store(transaction, mailId, bytes, receivedAt, deadline.signal, deps);
  const result = withinDeadline(stored, deadline, deps).then((outcome) => {
    if (outcome === "away") return refuse.storeAway();
    logAccepted(transaction, mailId, bytes.length, receivedAt, deps);
    return { queuedAs: mailId };
  });
  return { result, settled: stored.then(ignore, ignore) };
}

function ignore(): void {
  // The outcome was told already.
}

function refusalOf(canonical: Buffer, deps: AcceptanceDeps): Refusal | undefined {
  if (canonical.length > deps.maxMailBytes) return refuse.tooLarge(deps.maxMailBytes);
  // Some servers leave it out: one between CRLF and a dot would end the mail there, and begin another.
  if (canonical.includes(0)) return refuse.nul();
  const objection = objectionTo(canonical, deps.hostname);
  switch (objection?.kind) {
    case "header-bytes":
      return refuse.headerTooLarge();
    case "header-fields":
      return refuse.tooManyFields();
    case "loop":
      return refuse.loop(objection.why);
    case undefined:
      return undefined;
  }
}

function traceOf(
  canonical: Buffer,
  { client, protocol, rcptTo }: Transaction,
  mailId: string,
  at: Date,
  by: string,
): Buffer {
  const [forRecipient] = rcptTo.size === 1 ? rcptTo : [];
  return receivedBefore(canonical, {
    client,
    by,
    protocol,
    mailId,
    at,
    ...(forRecipient !== undefined && { forRecipient }),
  });
}

async function store(
  transaction: Transaction,
  mailId: string,
  bytes: Buffer,
  receivedAt: Date,
  signal: AbortSignal,
  { database, actorId }: AcceptanceDeps,
): Promise<void> {
  const body = await database.bodies.put(bytes);
  // Nobody waits for this mail any more: the client has its 451 and will come again.
  signal.throwIfAborted();
  await database.mails.insert(recordOf(transaction, mailId, bytes, body, receivedAt, actorId));
}

async function withinDeadline(
  stored: Promise<void>,
  deadline: AbortController,
  deps: AcceptanceDeps,
): Promise<"stored" | "away"> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    deadline.abort();
    late.reject(new Error(`no answer within ${deps.storeTimeoutMs} ms`));
  }, deps.storeTimeoutMs);
  try {
    await Promise.race([stored, late.promise]);
    return "stored";
  } catch (error) {
    deps.onStoreAway();
    deps.log.warn({ reason: messageOf(error) }, "the database did not take a mail");
    return "away";
  } finally {
    clearTimeout(timer);
  }
}

function recordOf(
  transaction: Transaction,
  mailId: string,
  bytes: Buffer,
  body: BodyRef,
  receivedAt: Date,
  actorId: string,
): MailRecord {
  const { listener, client, direction, mailFrom } = transaction;
  const rcptTo = [...transaction.rcptTo];
  // Mail programs send 8-bit bytes without saying so; the next hop has to be told (RFC 6152 §3).
  const eightBit = transaction.eightBit || !isAscii(bytes);
  return accepted(
    {
      _id: mailId,
      origin: {
        via: listener.protocol,
        name: listener.name,
        ...(listener.outgoing && { outgoing: true }),
        ...(listener.tenantId !== undefined && { tenantId: listener.tenantId }),
      },
      smtp: { mailFrom, rcptTo, client, params: { body: eightBit ? "8BITMIME" : "7BIT" } },
      receivedAt,
      body,
      header: { ...headerSummary(bytes) },
      direction,
    },
    actorId,
  );
}

function logAccepted(
  { listener, client, mailFrom, rcptTo, protocol, direction }: Transaction,
  mailId: string,
  size: number,
  receivedAt: Date,
  { database, addresses, log }: AcceptanceDeps,
): void {
  log.info(
    {
      mailId,
      listener: listener.name,
      client: client.address,
      helo: client.helo,
      protocol,
      direction,
      from: loggedAddress(mailFrom, addresses),
      to: [...rcptTo].map((address) => loggedAddress(address, addresses)),
      size,
      storeMs: database.clock.now().getTime() - receivedAt.getTime(),
    },
    "mail accepted",
  );
}
