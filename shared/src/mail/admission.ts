import { headerFields } from "./header-fields.ts";
import { emptyTrace, loopIn, noteTrace, startsWithBlank } from "./received.ts";

/** What each door takes and each step after it can process: bytes of a mail's header as it came. */
export const maxHeaderBytes = 4 * 1024 * 1024;
/** Fields of a header, lines that are none among them. */
export const maxHeaderFields = 5_000;

/** As the steps after the door see it: our own trace is on top of it. */
export const maxTracedHeaderBytes = maxHeaderBytes + 64 * 1024;

/** Why a mail cannot be taken, for any recipient. */
export type Objection =
  { kind: "header-bytes" } | { kind: "header-fields" } | { kind: "loop"; why: string };

/**
 * Judges the header of a canonical raw mail, before our own Received is put on it. One pass that
 * stops at the first objection, so that what is refused costs no more than what is taken. `ownName`
 * is who we are in Received fields.
 */
export function objectionTo(raw: Buffer, ownName: string): Objection | undefined {
  // Its header is empty: see `receivedBefore`.
  if (startsWithBlank(raw)) return undefined;
  const trace = emptyTrace();
  let fields = 0;
  for (const field of headerFields(raw)) {
    fields += 1;
    if (field.end > maxHeaderBytes) return { kind: "header-bytes" };
    if (fields > maxHeaderFields) return { kind: "header-fields" };
    noteTrace(trace, raw, field, ownName);
    const why = loopIn(trace);
    if (why !== undefined) return { kind: "loop", why };
  }
  return undefined;
}
