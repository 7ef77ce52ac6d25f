/** A local part that needs no quotes. Lenient, because real addresses have dots anywhere. */
const needsNoQuotes = /^[^\s"\\()<>[\]:;@,]+$/;

/**
 * What a local part says. Quotes and backslashes are only its form: `"vip"`, `"v\ip"` and `vip` are
 * one mailbox (RFC 5321 §4.1.2). An unquoted one is returned as it is.
 */
export function saidByLocalPart(local: string): string {
  const quoted = /^"(.*)"$/s.exec(local)?.[1];
  return quoted === undefined ? local : quoted.replace(/\\(.)/gs, "$1");
}

/**
 * The form of an address in which equal ones compare equal: lower case, the local part quoted only
 * if it must be. The domain is not examined.
 */
export function comparedAddress(address: string): string {
  const lower = address.toLowerCase();
  const at = lower.lastIndexOf("@");
  if (!lower.startsWith('"') || at < 0) return lower;
  const said = saidByLocalPart(lower.slice(0, at));
  const local = needsNoQuotes.test(said) ? said : `"${said.replace(/["\\]/g, "\\$&")}"`;
  return local + lower.slice(at);
}

/**
 * Whether a local part could send the mail on to another host: `user%elsewhere`, `elsewhere!user`,
 * and the same inside quotes, because some hosts route by what is in quotes (Postfix:
 * `resolve_dequoted_address`). Inside quotes such a sign alone is harmless; a host next to it is
 * not.
 */
export function routesElsewhere(local: string): boolean {
  const said = saidByLocalPart(local);
  if (said === local) return /[%!@]/.test(local);
  const hosts = [...said.matchAll(/[%@]([^%@!]*)/g), ...said.matchAll(/([^%@!]*)!/g)];
  return hosts.some(([, host = ""]) => /[.:[\]]|^\s*\d+\s*$/.test(host));
}
