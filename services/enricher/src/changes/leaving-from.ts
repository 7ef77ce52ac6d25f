import type { HeaderBlock } from "@rs-agent/shared/mail/header-block.ts";
import { headerSummary } from "@rs-agent/shared/mail/header-summary.ts";

/** A From field's name after the UTF-8 byte order mark, one character per byte. */
const markedFrom = "\u00ef\u00bb\u00bffrom";

/**
 * The one domain of the From that leaves, parsed as the planner parses it; or why there is none.
 * Our signature is of this domain and no other (I10).
 */
export function leavingFrom(header: HeaderBlock): { domain: string } | { why: string } {
  const { fromDomain } = headerSummary(header.build());
  if (fromDomain !== undefined) return { domain: fromDomain };
  const count = header.named("from").length;
  if (count > 1) return { why: `it has ${count} From headers` };
  if (count === 1) return { why: "its From has no domain, or more than one" };
  // RFC 5322 §2.2: a field name is printable US-ASCII, so this is not one.
  const isMarked = header.named(markedFrom).length > 0;
  return {
    why: isMarked
      ? "a UTF-8 byte order mark (EF BB BF) precedes its From, which is therefore not a From header"
      : "it has no From header",
  };
}
