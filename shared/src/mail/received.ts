import ipaddr from "ipaddr.js";
import { headerFields, unfolded, type HeaderField } from "./header-fields.ts";
import type { Client } from "./smtp-envelope.ts";

/** More Received fields than this are a loop (RFC 5321 §6.3: the limit should be at least 100). */
export const maxReceived = 100;

/**
 * This many Received fields of our own mean a loop, long before `maxReceived`. One mail may well
 * pass us three times: out from one tenant, in to another, and out again if that one forwards it.
 */
export const ownReceivedOfLoop = 5;

/** `with` of RFC 3848 (and SMTP for clients that say HELO). */
export type ReceivedProtocol = "SMTP" | "ESMTP" | "ESMTPS" | "LMTP" | "LMTPS";

const crlf = Buffer.from("\r\n");

/** What a trace field says about one transfer. */
export interface Handover {
  client: Client;
  /** Our own name, as other hosts know us. */
  by: string;
  protocol: ReceivedProtocol;
  mailId: string;
  at: Date;
  /**
   * Only if there is exactly one recipient: with more, each would learn of the others (RFC 5321
   * §7.2).
   */
  forRecipient?: string;
}

/**
 * The Received field (RFC 5321 §4.4) that is put before a mail on acceptance: folded, in the form
 * that SpamAssassin reads best (`from HELO (NAME [ADDRESS])`), with its final CRLF. Whatever a
 * client calls itself, exactly one well-formed field comes out.
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

/**
 * What is put before a canonical mail on acceptance: its Received field, followed by an empty line
 * if the mail begins with a blank. Such a first line is not a field: it would continue ours (RFC 5322
 * §2.2.3), perhaps with a forged client. The empty line says what is true of the mail: it has no
 * header, all of it is body. Its bytes stay as they came; Postfix does the same.
 */
export function receivedBefore(raw: Buffer, handover: Handover): Buffer {
  const field = receivedField(handover);
  return startsWithBlank(raw) ? Buffer.concat([field, crlf]) : field;
}

export function startsWithBlank(raw: Buffer): boolean {
  return raw[0] === 0x20 || raw[0] === 0x09;
}

/** The traces that a mail brings with it. */
export interface Trace {
  receivedCount: number;
  /** The ids in Received fields that `ownName` wrote, newest first. */
  ownIds: string[];
}

/** Counts the Received fields of the header and finds those that we wrote ourselves. */
export function inspectTrace(raw: Buffer, ownName: string): Trace {
  const trace = emptyTrace();
  for (const field of headerFields(raw)) noteTrace(trace, raw, field, ownName);
  return trace;
}

export function emptyTrace(): Trace {
  return { receivedCount: 0, ownIds: [] };
}

/** Adds a field to the traces if it is a trace field. */
export function noteTrace(trace: Trace, raw: Buffer, field: HeaderField, ownName: string): void {
  if (field.name !== "received") return;
  trace.receivedCount += 1;
  const id = idWrittenBy(unfolded(raw, field, 4096), ownName);
  if (id !== undefined) trace.ownIds.push(id);
}

/** Whether a mail with these traces is in a loop (554 5.4.6, or a dead letter). */
export function isLoop(trace: Trace): boolean {
  return loopIn(trace) !== undefined;
}

/** How one can tell that a mail with these traces is in a loop; undefined if it is not. */
export function loopIn({ receivedCount, ownIds }: Trace): string | undefined {
  if (ownIds.length >= ownReceivedOfLoop) {
    return `it has passed here ${ownReceivedOfLoop} times already`;
  }
  return receivedCount > maxReceived ? `more than ${maxReceived} Received fields` : undefined;
}

function idWrittenBy(body: string, ownName: string): string | undefined {
  const found = /(?:^|\s)by\s+(\S+)\s+\(rs-agent\)\s+with\s+\S+\s+id\s+([^\s;]+)/i.exec(body);
  return found?.[1]?.toLowerCase() === ownName.toLowerCase() ? found[2] : undefined;
}

/** ` (NAME [ADDRESS])`, the TCP-info of RFC 5321 §4.4; nothing if the address is unknown. */
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

/** A domain or address literal as it may appear in a trace field; other characters become `?`. */
function domainText(name: string): string {
  if (name === "") return "unknown";
  return name.slice(0, 255).replace(/[^A-Za-z0-9.:_\-[\]]/g, "?");
}

/**
 * A path without anything that could end it, the field or the line; a quoted local part keeps its
 * blanks.
 */
function pathText(path: string): string {
  const foreign = path.startsWith('"')
    ? /[^\x20-\x3a\x3d\x3f-\x7e]/g
    : /[^\x21-\x3a\x3d\x3f-\x7e]/g;
  return path.slice(0, 320).replace(foreign, "?");
}

function atomText(text: string): string {
  return text.slice(0, 64).replace(/[^A-Za-z0-9._-]/g, "?");
}

/** As RFC 5322 §3.3 has it, in UTC. */
function dateTime(at: Date): string {
  return at.toUTCString().replace("GMT", "+0000");
}
