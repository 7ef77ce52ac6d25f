/** How addresses, dates and text from others may appear in the fields of a report (RFC 3464). */

/** Printable US-ASCII on one line: line ends and runs of blanks become one blank, other bytes `?`. */
export function printable(text: string): string {
  return text
    .slice(0, 4096)
    .replace(/\s+/g, " ")
    .replace(/[^\x20-\x7e]/g, "?")
    .trim();
}

/** Text from others on one line of a report: nothing in it can steer a terminal. */
export function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, " ");
}

/**
 * An address as it may stand between angle brackets in a header field: nothing can end them early.
 * A quoted local part keeps its blanks (RFC 5322 §3.4.1).
 */
export function addressForHeader(address: string): string {
  const foreign = address.startsWith('"') ? /[^\x20-\x7e]|[<>]/g : /[^\x21-\x7e]|[<>]/g;
  return address.slice(0, 4096).replace(foreign, "?");
}

/**
 * The address of a Final-Recipient field: `rfc822; a@b` or, if it is not US-ASCII, the
 * utf-8-addr-xtext of RFC 6533 §3, which may appear in a plain message/delivery-status.
 */
export function deliveryStatusAddress(address: string): string {
  if (/^(?:"[\x20-\x7e]*|[\x21-\x7e]*)$/.test(address)) return `rfc822; ${address}`;
  const escaped = Array.from(address, (character) =>
    /[\x21-\x2a\x2c-\x3c\x3e-\x5b\x5d-\x7e]/.test(character)
      ? character
      : `\\x{${(character.codePointAt(0) ?? 0).toString(16).toUpperCase()}}`,
  );
  return `utf-8; ${escaped.join("")}`;
}

/** As RFC 5322 §3.3 has it, in UTC. */
export function dateTime(at: Date): string {
  return at.toUTCString().replace("GMT", "+0000");
}
