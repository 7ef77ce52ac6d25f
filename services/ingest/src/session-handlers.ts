import type { SMTPServerDataStream, SMTPServerOptions, SMTPServerSession } from "smtp-server";
import type { Logger } from "@rs-agent/shared/logger.ts";
import { loggedAddress, type AddressLogMode } from "@rs-agent/shared/mail/logged-address.ts";
import { clientOf } from "./client.ts";
import type { ClientNetworks } from "./client-networks.ts";
import type { ListenerSettings } from "./config.ts";
import type { IngestMetrics } from "./ingest-metrics.ts";
import { Refusal, refuse } from "./reply.ts";
import {
  addRecipient,
  beginTransaction,
  type Transaction,
  type TransactionDeps,
} from "./transaction.ts";

/** Reads a mail to its end and gives the reply: the id that it was queued under, or a refusal. */
export type ReceiveData = (
  stream: SMTPServerDataStream,
  transaction: Transaction,
) => Promise<{ queuedAs: string } | Refusal>;

export interface SessionDeps extends TransactionDeps {
  receiveData: ReceiveData;
  submissionClients: ClientNetworks;
  counted: IngestMetrics;
  addresses: AddressLogMode;
  log: Logger;
}

/** smtp-server's handlers. */
export type SessionHandlers = Required<
  Pick<SMTPServerOptions, "onConnect" | "onMailFrom" | "onRcptTo" | "onData">
>;

/** An incoming session ends after this many refused recipients: it guesses addresses. */
const maxRefusedRecipients = 20;

/** The handlers of one listener: they ask for the decisions, log refusals and give the replies. */
export function createSessionHandlers(
  listener: ListenerSettings,
  deps: SessionDeps,
): SessionHandlers {
  const transactions = new WeakMap<SMTPServerSession, Transaction>();
  const refusedRecipients = new WeakMap<SMTPServerSession, number>();

  /** Logs the refusal and gives it back. */
  const refused = (refusal: Refusal, session: SMTPServerSession, recipient?: string): Refusal => {
    deps.counted.refused(refusal);
    logRefusal(refusal, transactions.get(session), session, recipient, listener, deps);
    return refusal;
  };

  /**
   * A stranger who is refused for good too often guesses: the session ends. Not for recipients that
   * are too many: those come again by themselves, and the others must not be lost (RFC 5321 §4.5.3.1.10).
   */
  const orGoodbye = (refusal: Refusal, session: SMTPServerSession): Refusal => {
    if (refusal.responseCode < 500) return refusal;
    const count = (refusedRecipients.get(session) ?? 0) + 1;
    refusedRecipients.set(session, count);
    const isStranger = transactions.get(session)?.direction === "incoming" && !listener.trusted;
    return isStranger && count >= maxRefusedRecipients ? refuse.tooManyErrors() : refusal;
  };

  return {
    onConnect: (session, done) => {
      const isListed = !listener.outgoing || deps.submissionClients.include(session.remoteAddress);
      done(isListed ? undefined : refused(refuse.clientNotListed(), session));
    },
    onMailFrom: (address, session, done) => {
      transactions.delete(session);
      const begun = beginTransaction(address, session, listener, deps);
      const refusal = begun instanceof Refusal ? refused(begun, session) : undefined;
      if (!(begun instanceof Refusal)) transactions.set(session, begun);
      done(refusal);
    },
    onRcptTo: (address, session, done) => {
      const refusal = addRecipient(transactionOf(transactions, session), address, deps);
      done(refusal && refused(orGoodbye(refusal, session), session, address.address));
    },
    onData: (stream, session, done) => {
      const transaction = transactionOf(transactions, session);
      void deps.receiveData(stream, transaction).then((result) => {
        if (result instanceof Refusal) refused(result, session);
        else deps.counted.accepted(transaction.direction);
        const reply = result instanceof Refusal ? result : `2.0.0 queued as ${result.queuedAs}`;
        if (listener.protocol === "lmtp") {
          done(
            null,
            Array.from({ length: transaction.acceptedRcpts }, () => reply),
          );
        } else if (reply instanceof Refusal) {
          done(reply);
        } else {
          done(null, reply);
        }
      });
    },
  };
}

/** smtp-server lets no RCPT and no DATA through without an accepted MAIL. */
function transactionOf(
  transactions: WeakMap<SMTPServerSession, Transaction>,
  session: SMTPServerSession,
): Transaction {
  const transaction = transactions.get(session);
  if (transaction === undefined) throw new Error("a transaction has no MAIL");
  return transaction;
}

/** One line for each refusal, as postmasters search for it. */
function logRefusal(
  refusal: Refusal,
  transaction: Transaction | undefined,
  session: SMTPServerSession,
  recipient: string | undefined,
  listener: ListenerSettings,
  { addresses, log }: SessionDeps,
): void {
  const client = transaction?.client ?? clientOf(session);
  log.info(
    {
      listener: listener.name,
      client: client.address,
      helo: client.helo,
      ...(transaction && { from: loggedAddress(transaction.mailFrom, addresses) }),
      ...(recipient !== undefined && { to: loggedAddress(recipient, addresses) }),
      reply: refusal.responseCode,
      status: refusal.status,
      reason: refusal.message,
    },
    "refused",
  );
}
