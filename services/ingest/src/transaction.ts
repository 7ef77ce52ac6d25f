import type { SMTPServerAddress, SMTPServerSession } from "smtp-server";
import type { ReceivedProtocol } from "@rs-agent/shared/mail/received.ts";
import type { Client } from "@rs-agent/shared/mail/smtp-envelope.ts";
import { envelopeAddress } from "@rs-agent/shared/mail/envelope-address.ts";
import type { PolicyBook } from "@rs-agent/shared/policy/effective.ts";
import { judgeRecipient, type JudgedRecipient } from "@rs-agent/shared/policy/recipient.ts";
import { clientOf, isClientUnknown } from "./client.ts";
import type { ListenerSettings } from "./config.ts";
import type { MemoryBudget } from "./memory-budget.ts";
import { refuse, type Refusal } from "./reply.ts";

/** What has been agreed about one mail before its first byte. */
export interface Transaction {
  listener: ListenerSettings;
  client: Client;
  protocol: ReceivedProtocol;
  direction: "incoming" | "outgoing";
  mailFrom: string;
  /** Accepted recipients in their order. */
  rcptTo: Set<string>;
  /** Accepted RCPT commands: LMTP owes a reply to each, repeated ones too (RFC 2033 §4.2). */
  acceptedRcpts: number;
  /** BODY=8BITMIME was given. */
  eightBit: boolean;
}

/** What the decisions on MAIL and RCPT rest on. */
export interface TransactionDeps {
  policies: { book(): PolicyBook };
  /** Whether the store is known to be away. */
  storeIsAway: () => boolean;
  /** More mail waits than `INGEST_MAX_WAITING` and its age allow. */
  isOverloaded: () => boolean;
  budget: MemoryBudget;
  maxRecipients: number;
}

const mailParameters: ReadonlySet<string> = new Set(["SIZE", "BODY"]);
const noParameters: ReadonlySet<string> = new Set();

/**
 * MAIL FROM. The direction is decided here, by the client's address and the listener, for the whole
 * transaction: nothing that the client writes into addresses or header changes it.
 */
export function beginTransaction(
  address: SMTPServerAddress,
  session: SMTPServerSession,
  listener: ListenerSettings,
  { policies, storeIsAway, isOverloaded, budget }: TransactionDeps,
): Transaction | Refusal {
  const unknown = unknownParameter(address, mailParameters);
  if (unknown !== undefined) return refuse.unknownParameter(unknown);
  if (isClientUnknown(session)) return refuse.xforwardRefused();
  const sender = envelopeAddress(address.address);
  if ("problem" in sender)
    return sender.problem === "bad" ? refuse.badSender() : refuse.nonAsciiAddress();
  if (storeIsAway()) return refuse.storeAway();
  const { outgoing, tenantId } = listener;
  const book = policies.book();
  if (tenantId !== undefined && !book.hasTenant(tenantId)) return refuse.unknownTenant(tenantId);
  if (isOverloaded()) return refuse.overloaded();
  if (!budget.hasRoomFor(declaredSize(address))) return refuse.tooMuchInFlight();
  const client = clientOf(session);
  return {
    listener,
    client,
    protocol: protocolOf(listener, session),
    direction: book.directionOf(client.address, outgoing, tenantId).direction,
    mailFrom: sender.address,
    rcptTo: new Set(),
    acceptedRcpts: 0,
    eightBit: session.envelope.bodyType === "8bitmime",
  };
}

/** RCPT TO: adds the recipient to the transaction, or says why not. */
export function addRecipient(
  transaction: Transaction,
  address: SMTPServerAddress,
  { policies, maxRecipients }: TransactionDeps,
): Refusal | undefined {
  const unknown = unknownParameter(address, noParameters);
  if (unknown !== undefined) return refuse.unknownParameter(unknown);
  const judged = judgeRecipient(policies.book(), address.address, transaction.direction);
  if (judged.kind === "refused") return recipientRefusals[judged.why]();
  const { address: recipient } = judged;
  const { rcptTo } = transaction;
  if (rcptTo.size >= maxRecipients && !rcptTo.has(recipient)) return refuse.tooManyRecipients();
  rcptTo.add(recipient);
  transaction.acceptedRcpts += 1;
  return undefined;
}

const recipientRefusals: Record<
  Extract<JudgedRecipient, { kind: "refused" }>["why"],
  () => Refusal
> = {
  "bad-address": refuse.badRecipient,
  "not-ascii": refuse.nonAsciiAddress,
  "relaying-denied": refuse.relayingDenied,
};

/** RFC 5321 §4.1.1.11: a parameter of an extension that was not offered is an error. */
function unknownParameter(
  { args }: SMTPServerAddress,
  known: ReadonlySet<string>,
): string | undefined {
  return Object.keys(args || {}).find((name) => !known.has(name));
}

/** RFC 1870; 0 if the client did not say. */
function declaredSize({ args }: SMTPServerAddress): number {
  const size = args ? (args as Record<string, unknown>)["SIZE"] : undefined;
  return Number(size ?? 0);
}

/** RFC 3848. */
function protocolOf(listener: ListenerSettings, session: SMTPServerSession): ReceivedProtocol {
  if (listener.protocol === "lmtp") return session.secure ? "LMTPS" : "LMTP";
  if (session.openingCommand === "HELO") return "SMTP";
  return session.secure ? "ESMTPS" : "ESMTP";
}
