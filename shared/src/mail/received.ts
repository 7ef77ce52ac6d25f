import ipaddr from "ipaddr.js";
import { headerFields, unfolded } from "./header-fields.ts";
import type { Client } from "./smtp-envelope.ts";

/** More Received fields than this are a loop (RFC 5321 §6.3 asks for at least 100 or less by choice). */
export const maxReceived = 50;

/** Our own Received field more often than this is a loop too, long before `maxReceived`. */
export const maxOwnReceived = 1;

/** `with` of RFC 3848 (and SMTP for clients that said HELO). */
export type ReceivedProtocol = "SMTP" | "ESMTP" | "ESMTPS" | "LMTP" | "LMTPS";

/** What a trace field says about one handing over. */
export interface Handover {
  client: Client;
  /** Our own name, as other hosts know us. */
  by: string;
  protocol: ReceivedProtocol;
  mailId: string;
  at: Date;
  /** Only where there is exactly one recipient: more would tell each of the others (RFC 5321 §7.2). */
  forRecipient?: string;
}

/**
 * The Received field (RFC 5321 §4.4) that is put before a mail on acceptance: folded, in the shape
 * that SpamAssassin reads best (`from HELO (NAME [ADDRESS])`), with its CRLF at the end. Whatever a
 * client calls itself, nothing but one well-formed field comes out.
 */
export function receivedField(handover: Handover): Buffer {
  const { client, by, protocol, mailId, at, forRecipient } = handover;
  const recipient = forRecipient === undefined ? "" : ` for <${pathText(forRecipient)}>`;
  const field =
    `Received: from ${domainText(client.helo)}${tcpInfo(client)}\r\n` +
    `\tby ${domainText(by)} (rs-agent) with ${protocol} id ${atomText(mailId)}` +
    `${recipient === "" ? "" : `\r\n\t${recipient.slice(1)}`};\r\n` +
    `\t${dateTime(at)}\r\n`;
  return Buffer.from(field, "latin1");
}

/** The traces that a mail brings along. */
export interface Trace {
  receivedCount: number;
  /** The ids in Received fields that `ownName` wrote, newest first. */
  ownIds: string[];
}

/** Counts the Received fields of the header and finds those that we wrote ourselves. */
export function inspectTrace(raw: Buffer, ownName: string): Trace {
  const ownIds: string[] = [];
  let receivedCount = 0;
  for (const field of headerFields(raw)) {
    if (field.name !== "received") continue;
    receivedCount += 1;
    const id = idWrittenBy(unfolded(raw, field, 4096), ownName);
    if (id !== undefined) ownIds.push(id);
  }
  return { receivedCount, ownIds };
}

/** Whether a mail with these traces goes round in circles (554 5.4.6, or a dead letter). */
export function isLoop(trace: Trace): boolean {
  return trace.receivedCount > maxReceived || trace.ownIds.length > maxOwnReceived;
}

function idWrittenBy(body: string, ownName: string): string | undefined {
  const found = /(?:^|\s)by\s+(\S+)\s+\(rs-agent\)\s+with\s+\S+\s+id\s+([^\s;]+)/i.exec(body);
  return found?.[1]?.toLowerCase() === ownName.toLowerCase() ? found[2] : undefined;
}

/** ` (NAME [ADDRESS])`, the TCP-info of RFC 5321 §4.4; nothing where the address is unknown. */
function tcpInfo(client: Client): string {
  const literal = addressLiteral(client.address);
  if (literal === undefined) return "";
  return ` (${client.name === "" ? "unknown" : domainText(client.name)} ${literal})`;
}

/** An address literal of RFC 5321 §4.1.3; an IPv4 address inside IPv6 is written as IPv4. */
function addressLiteral(address: string): string | undefined {
  if (!ipaddr.isValid(address)) return undefined;
  const parsed = ipaddr.process(address);
  return parsed.kind() === "ipv6" ? `[IPv6:${parsed.toString()}]` : `[${parsed.toString()}]`;
}

/** A domain or address literal as it may stand in a trace field; other bytes become `?`. */
function domainText(name: string): string {
  if (name === "") return "unknown";
  return name.slice(0, 255).replace(/[^A-Za-z0-9.:_\-[\]]/g, "?");
}

/** A path without anything that could end it, the field or the line. */
function pathText(path: string): string {
  return path.slice(0, 320).replace(/[^\x21-\x3a\x3d\x3f-\x7e]/g, "?");
}

function atomText(text: string): string {
  return text.slice(0, 64).replace(/[^A-Za-z0-9._-]/g, "?");
}

/** RFC 5322 §3.3 in UTC. */
function dateTime(at: Date): string {
  return at.toUTCString().replace("GMT", "+0000");
}
