import { fieldBody, type BlockField } from "@rs-agent/shared/mail/header-block.ts";
import type { ApplyChange } from "./change.ts";

/** Header fields that only we may write. */
const ours = /^(?:x-(?:spam|virus|radicalspam)(?:-.*)?|x-relay-countries)$/;

/**
 * Removes what outsiders must not forge: our own header fields, and Authentication-Results under
 * our own name (RFC 8601 §5). Those of other sites stay: they may be signed, and nobody here relies
 * on them.
 */
export const strip: ApplyChange<"strip"> = (mail, _change, { authservIds }) => {
  const own = new Set(authservIds.map((id) => id.toLowerCase()));
  mail.header.removeWhere((field) => ours.test(field.name) || isOwnResult(field, own));
  return undefined;
};

function isOwnResult(field: BlockField, own: ReadonlySet<string>): boolean {
  return field.name === "authentication-results" && own.has(authservIdOf(fieldBody(field)));
}

/** How many bytes of comments and blanks may precede an authserv-id; no honest field has more. */
const idLimit = 4_096;

/** The authserv-id (RFC 8601 §2.2: a token or quoted string after CFWS), in lower case. */
export function authservIdOf(body: Buffer): string {
  const text = body.toString("latin1", 0, idLimit);
  const start = behindComments(text);
  if (text[start] !== '"') return /^[^\s;()"]*/.exec(text.slice(start))?.[0].toLowerCase() ?? "";
  const [, quoted = ""] = /^"((?:[^"\\]|\\[^])*)/.exec(text.slice(start)) ?? [];
  return quoted
    .replace(/\\([^])/g, "$1")
    .replace(/\r\n/g, "")
    .toLowerCase();
}

/** Index of the first character that is neither blank nor in a comment; comments nest. */
function behindComments(text: string): number {
  let depth = 0;
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at] as string;
    if (depth > 0 && character === "\\") at += 1;
    else if (character === "(") depth += 1;
    else if (depth > 0 && character === ")") depth -= 1;
    else if (depth === 0 && !/\s/.test(character)) return at;
  }
  return text.length;
}
