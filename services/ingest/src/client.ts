import type { SMTPServerSession } from "smtp-server";
import type { Client } from "@rs-agent/shared/mail/smtp-envelope.ts";

/** What the record keeps of a name; smtp-server takes a little more at HELO, and much by XFORWARD. */
const nameLimit = 255;

/** No attribute of XFORWARD. */
const refusedXforward = "REFUSED";

/**
 * A listed peer's XFORWARD was refused for its syntax: whose the mail is remains unknown until the
 * transaction ends, and with it the attributes. Others in the same transaction do not heal it.
 */
export function noteRefusedXforward({ xForward }: SMTPServerSession): void {
  xForward.set(refusedXforward, "yes");
}

/** Whether the mail that comes next would be taken for the peer's own although it is another's. */
export function isClientUnknown({ xForward }: SMTPServerSession): boolean {
  return xForward.has(refusedXforward);
}

/**
 * Who handed the mail over: the peer of the socket or, if a listed peer said so by XFORWARD
 * (https://www.postfix.org/XFORWARD_README.html), the client behind it. What the peer says is not
 * available is unknown, never the peer; only mail that it calls its own (SOURCE=LOCAL) is the peer's.
 */
export function clientOf(session: SMTPServerSession): Client {
  const { address, name, helo } = claimedClient(session);
  return { address, name: name.slice(0, nameLimit), helo: helo.slice(0, nameLimit) };
}

function claimedClient(session: SMTPServerSession): Client {
  const peer: Client = {
    address: session.remoteAddress,
    name: session.clientHostname.startsWith("[") ? "" : session.clientHostname,
    // `false` before HELO, whatever its type says.
    helo: session.hostNameAppearsAs || "",
  };
  const forwarded = session.xForward;
  if (forwarded.size === 0) return peer;
  if (forwarded.has("ADDR") && forwarded.get("ADDR") === false && isLocal(forwarded)) return peer;
  return {
    address: value(forwarded, "ADDR", peer.address),
    name: value(forwarded, "NAME", forwarded.has("ADDR") ? "" : peer.name),
    helo: value(forwarded, "HELO", forwarded.has("ADDR") ? "" : peer.helo),
  };
}

function isLocal(forwarded: SMTPServerSession["xForward"]): boolean {
  return String(forwarded.get("SOURCE")).toUpperCase() === "LOCAL";
}

/** `false` stands for `[UNAVAILABLE]`. */
function value(forwarded: SMTPServerSession["xForward"], key: string, missing: string): string {
  if (!forwarded.has(key)) return missing;
  const given = forwarded.get(key);
  return typeof given === "string" ? given : "";
}
