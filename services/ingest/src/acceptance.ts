import { messageOf } from "@rs-agent/shared/errors.ts";
import { newMailId } from "@rs-agent/shared/ids.ts";
import { accepted } from "@rs-agent/shared/life/beginnings.ts";
import type { Logger } from "@rs-agent/shared/logger.ts";
import { loggedAddress, type AddressLogMode } from "@rs-agent/shared/mail/logged-address.ts";
import { acceptMail, type Arrival, type Hall } from "@rs-agent/shared/store/acceptance.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import type { RawMail } from "./raw-mail.ts";
import { refusalBy, refuse, type Refusal } from "./reply.ts";
import type { Transaction } from "./transaction.ts";

export interface AcceptanceDeps {
  database: Pick<Database, "arrivals" | "clock">;
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
  const { database } = deps;
  const mailId = newMailId();
  const receivedAt = database.clock.now();
  const deadline = new AbortController();
  // Once nobody waits for this mail any more, the client has its 451 and will come again.
  const store: Hall<unknown>["store"] = (bytes, mailOf) =>
    database.arrivals.store(bytes, (body) => accepted(mailOf(body), deps.actorId), deadline.signal);
  const arrival = arrivalOf(transaction, raw, { mailId, at: receivedAt }, deps);
  const taken = acceptMail(arrival, { ...deps, store });
  if ("objection" in taken) {
    const refusal = refusalBy(taken.objection);
    return { result: Promise.resolve(refusal), settled: Promise.resolve() };
  }
  const { size, kept } = taken;
  const result = withinDeadline(kept, deadline, deps).then((outcome) => {
    if (outcome === "away") return refuse.storeAway();
    logAccepted(transaction, mailId, size, receivedAt, deps);
    return { queuedAs: mailId };
  });
  return { result, settled: kept.then(ignore, ignore) };
}

function arrivalOf(
  { listener, client, protocol, direction, mailFrom, rcptTo, eightBit }: Transaction,
  raw: RawMail,
  given: Pick<Arrival, "mailId" | "at">,
  { nul }: Pick<AcceptanceDeps, "nul">,
): Arrival {
  return {
    ...given,
    canonical: raw.canonical({ dropNul: nul === "remove" }),
    origin: {
      via: listener.protocol,
      name: listener.name,
      ...(listener.outgoing && { outgoing: true }),
      ...(listener.tenantId !== undefined && { tenantId: listener.tenantId }),
    },
    direction,
    smtp: { mailFrom, rcptTo: [...rcptTo], client, ...(eightBit && { params: eightBitMime }) },
    protocol,
    traced: (trace, canonical) => raw.withReceived(trace, canonical),
  };
}

const eightBitMime = { body: "8BITMIME" } as const;

function ignore(): void {
  // The outcome was told already.
}

async function withinDeadline(
  stored: Promise<unknown>,
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
