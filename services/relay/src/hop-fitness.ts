import type { HopAbilities } from "./ehlo.ts";
import type { OutgoingMail } from "./outgoing-bytes.ts";
import type { RecipientResult } from "./transcript.ts";

/** What is known to fail before anything is said to the hop: it will not take this mail, ever. */
export interface Fitness {
  /** Against the whole mail. */
  mail: RecipientResult | undefined;
  /** Against one recipient. */
  recipient: (address: string) => RecipientResult | undefined;
}

/**
 * Compares a mail with what the hop said that it can do. A mail of 8-bit bytes is not sent to a hop
 * without 8BITMIME (RFC 6152 §3: convert or refuse; converting would break signatures), none above
 * its SIZE (RFC 1870 §6.1), no internationalised address without SMTPUTF8 (RFC 6531 §3.2).
 */
export function fitnessFor(hop: HopAbilities, mail: OutgoingMail, mailFrom: string): Fitness {
  return {
    mail: unfitMail(hop, mail) ?? (mailFrom === "" ? undefined : unfitAddress(hop, mailFrom, "7")),
    recipient: (address) => unfitAddress(hop, address, "3"),
  };
}

function unfitMail(hop: HopAbilities, mail: OutgoingMail): RecipientResult | undefined {
  if (hop.maxBytes !== undefined && mail.size > hop.maxBytes) {
    return refused("5.3.4", `the next hop takes ${hop.maxBytes} bytes, the mail has ${mail.size}`);
  }
  if (mail.eightBit && !hop.extensions.has("8BITMIME")) {
    return refused("5.6.3", "the mail has 8-bit bytes and the next hop takes no 8BITMIME");
  }
  return undefined;
}

/** @param place the last digit of RFC 3463's 5.1.X: 7 for the sender, 3 for a recipient */
function unfitAddress(
  hop: HopAbilities,
  address: string,
  place: "3" | "7",
): RecipientResult | undefined {
  if (address.trim() === "" || /[\x00-\x1f\x7f<>]/.test(address)) {
    return refused(`5.1.${place}`, "the address cannot be said in SMTP");
  }
  if (!/^[\x20-\x7e]*$/.test(address) && !hop.extensions.has("SMTPUTF8")) {
    return refused("5.6.7", "the address is not US-ASCII and the next hop takes no SMTPUTF8");
  }
  return undefined;
}

function refused(status: string, reply: string): RecipientResult {
  return { kind: "refused", status, reply };
}
