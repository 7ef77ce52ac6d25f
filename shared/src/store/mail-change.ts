import type { Document } from "mongodb";
import type { MailChange } from "../life/change.ts";
import { maxHistory } from "../life/events.ts";
import type { MailRecord } from "../mail/record.ts";
import type { WriteMark } from "./holding.ts";
import { lookupKeysOf } from "./mail-document.ts";

/**
 * What a change does, for the database and for the record in memory: the only place that knows in
 * which fields it lies.
 */

/**
 * The update of a change. The mark tells a write whose answer was lost from one that never arrived. A `holder` that gives the lease up has lived: what the mail was
 * suspected of is over, or as it was (poison.ts).
 */
export function updateOf(
  change: MailChange,
  { wrote, rev }: WriteMark,
  by: "holder" | "other" = "other",
): Document {
  const { history = [], releaseLease, untried } = change;
  const isGivenUp = by === "holder" && releaseLease === true;
  const unset = [
    ...(change.unset ?? []),
    ...(releaseLease === true ? ["lease"] : []),
    ...(isGivenUp && untried !== true ? ["unended", "alone"] : []),
  ];
  const more = {
    ...(rev === undefined && { rev: 1 }),
    ...(isGivenUp && untried === true && { unended: -1 }),
  };
  return {
    $set: {
      ...change.set,
      ...inner("verdicts", change),
      ...inner("timings", change),
      ...lookupOf(change),
      wrote,
      ...(rev !== undefined && { rev }),
    },
    ...(unset.length > 0 && {
      $unset: Object.fromEntries(unset.map((field) => [field, ""] as const)),
    }),
    ...(Object.keys(more).length > 0 && { $inc: more }),
    ...(history.length > 0 && { $push: { history: { $each: history, $slice: -maxHistory } } }),
  };
}

/** The record after a change that is still to be written; the holder of the lease still has it. */
export function recordAfter(mail: MailRecord, change: MailChange): MailRecord {
  const { verdicts, timings, history } = change;
  const next = {
    ...mail,
    ...change.set,
    ...(verdicts !== undefined && { verdicts: { ...mail.verdicts, ...verdicts } }),
    ...(Object.keys(timings ?? {}).length > 0 && { timings: { ...mail.timings, ...timings } }),
    ...(history !== undefined && { history: [...mail.history, ...history].slice(-maxHistory) }),
  };
  for (const field of change.unset ?? []) Reflect.deleteProperty(next, field);
  return next as MailRecord;
}

/** Of a change that brings the SMTP envelope: what `find` looks up comes with it. */
function lookupOf({ set }: MailChange): { lookup?: string[] } {
  const { smtp, recipients, header } = set ?? {};
  if (smtp === undefined || recipients === undefined) return {};
  return { lookup: lookupKeysOf({ smtp, recipients, header }) };
}

function inner(field: "verdicts" | "timings", change: MailChange): Document {
  const values = Object.entries(change[field] ?? {});
  return Object.fromEntries(values.map(([name, value]) => [`${field}.${name}`, value]));
}
