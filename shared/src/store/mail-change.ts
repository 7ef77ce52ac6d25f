import type { Document } from "mongodb";
import type { MailChange } from "../life/change.ts";
import { maxHistory } from "../life/events.ts";
import type { MailRecord } from "../mail/record.ts";
import type { WriteMark } from "./holding.ts";
import { storedChange, storedHistory, storedUnder, type RecordForm } from "./record-form.ts";
import { lookupKeysOf } from "./mail-document.ts";

/**
 * What a change does, for the database and for the record in memory: the only place that knows in
 * which fields it lies.
 */

/**
 * The update of a change. The mark tells a write whose answer was lost from one that never arrived. A `holder` (given
 * by the form of what it holds) that gives the lease up has lived: what the mail was suspected of is over,
 * or as it was (poison.ts).
 */
export function updateOf(
  change: MailChange,
  { wrote, rev }: WriteMark,
  holder?: RecordForm,
): Document {
  const form = holder ?? ofAnyForm;
  const { history = [], releaseLease, untried } = change;
  const isGivenUp = holder !== undefined && releaseLease === true;
  const unset = [
    ...(change.unset ?? []).flatMap(storedUnder),
    ...(releaseLease === true ? ["lease"] : []),
    ...(isGivenUp && untried !== true ? ["unended", "alone"] : []),
  ];
  const more = {
    ...(rev === undefined && { rev: 1 }),
    ...(isGivenUp && untried === true && { unended: -1 }),
  };
  return {
    $set: {
      ...storedChange(change, form),
      ...lookupOf(change),
      wrote,
      ...(rev !== undefined && { rev }),
    },
    ...(unset.length > 0 && {
      $unset: Object.fromEntries(unset.map((field) => [field, ""] as const)),
    }),
    ...(Object.keys(more).length > 0 && { $inc: more }),
    ...(history.length > 0 && {
      $push: { history: { $each: storedHistory(history, form), $slice: -maxHistory } },
    }),
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
  for (const field of (change.unset ?? []).flatMap(storedUnder)) {
    Reflect.deleteProperty(next, field);
  }
  return next as MailRecord;
}

/** Of a change that brings the SMTP envelope: what `find` looks up comes with it. */
function lookupOf({ set }: MailChange): { lookup?: string[] } {
  const { smtp, recipients, header } = set ?? {};
  if (smtp === undefined || recipients === undefined) return {};
  return { lookup: lookupKeysOf({ smtp, recipients, header }) };
}

/** Who holds no lease writes only fields that are alike in all forms. */
const ofAnyForm: RecordForm = { v: 1, sha256: "" };
