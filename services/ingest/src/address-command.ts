/** A MAIL or RCPT command in smtp-server's terms. */
export interface AddressCommand {
  address: string;
  /** The parameters, names in upper case; `true` for one without a value, false without any. */
  args: Record<string, string | true> | false;
  /** A parameter that was given more than once. */
  duplicate?: string;
}

/**
 * The path of RFC 5321 §4.1.2 in angle brackets: a source route, which is ignored (appendix C), then
 * the local part, wholly quoted or without any quotes, and the domain.
 */
const path =
  /^<(?:@[^\s,:@<>"]+(?:,@[^\s,:@<>"]+)*:)?((?:"(?:[^"\\]|\\.)*"|[^\s<>@"]+)@[^\s<>@"]+|postmaster|)>(?:\s+(.*))?$/i;
/** RFC 3461 §4. */
const xtextByte = /\+([0-9A-F]{2})/g;
const control = /[\x00-\x1f\x7f-\x9f]/;
/** What no address needs and nobody sees. */
const invisible = /[\u200b\u2060\ufeff]/;

/**
 * Parses `MAIL FROM:` or `RCPT TO:` with its parameters; undefined for what is none. smtp-server's
 * own cuts the line at each blank and at each `@`, so that no quoted local part comes through.
 */
export function parseAddressCommand(
  name: "MAIL FROM" | "RCPT TO",
  line: string,
): AddressCommand | undefined {
  const colon = line.indexOf(":");
  if (colon < 0 || line.slice(0, colon).trim().toUpperCase() !== name) return undefined;
  const text = line.slice(colon + 1).trim();
  const found = path.exec(text);
  if (found === null) return undefined;
  const [, address = "", rest = ""] = found;
  if (control.test(address) || invisible.test(address)) return undefined;
  if (name === "MAIL FROM" && address.toLowerCase() === "postmaster") return undefined;
  return withParameters(address, rest.split(/\s+/).filter(isFilled));
}

function withParameters(address: string, parameters: string[]): AddressCommand | undefined {
  if (parameters.length === 0) return { address, args: false };
  const args: Record<string, string | true> = Object.create(null) as Record<string, string | true>;
  let duplicate: string | undefined;
  for (const parameter of parameters) {
    const equals = parameter.indexOf("=");
    const name = (equals < 0 ? parameter : parameter.slice(0, equals)).toUpperCase();
    const value = equals < 0 ? "" : unescaped(parameter.slice(equals + 1));
    if (control.test(value)) return undefined;
    if (name === "") continue;
    if (name in args) duplicate ??= name;
    args[name] = value === "" ? true : value;
  }
  return { address, args, ...(duplicate !== undefined && { duplicate }) };
}

function unescaped(xtext: string): string {
  return xtext.replace(xtextByte, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)));
}

function isFilled(text: string): boolean {
  return text !== "";
}
