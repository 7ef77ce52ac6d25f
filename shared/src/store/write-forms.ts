import type { AnyBulkWriteOperation, Document } from "mongodb";
import type { MailChange } from "../life/change.ts";
import { maxHistory } from "../life/events.ts";
import type { StoredDocument } from "./connection.ts";
import type { Holding, WriteMark } from "./holding.ts";
import { updateOf } from "./mail-change.ts";

/** A change of one mail by the holder of its lease (I3). */
export interface GuardedWrite {
  holding: Holding;
  change: MailChange;
  mark: Required<WriteMark>;
}

/** One statement of a bulk, and the mails that it writes. */
export interface Statement {
  writes: readonly GuardedWrite[];
  operation: AnyBulkWriteOperation<StoredDocument>;
}

/** How guarded writes become statements. All forms do the same to the records. */
export type WriteForm = (writes: readonly GuardedWrite[]) => Statement[];

/** A statement for each mail. */
export const eachAlone: WriteForm = (writes) => updatesOf(writes).map(alone);

interface Updated {
  write: GuardedWrite;
  update: MailUpdate;
}

function updatesOf(writes: readonly GuardedWrite[]): Updated[] {
  return writes.map((write) => ({ write, update: definedUpdate(write) }));
}

function alone({ write, update }: Updated): Statement {
  const filter = { _id: write.holding.mailId, ...guardOf(write) };
  return { writes: [write], operation: { updateOne: { filter, update: update as Document } } };
}

/**
 * The revision keeps any further try, ours or the driver's, however late the server does it, from doing
 * again what one did, or undoing what came after.
 */
function guardOf({ holding, mark }: GuardedWrite): Document {
  return { "lease.token": holding.token, rev: { $not: { $gte: mark.rev } } };
}

/** Of one statement. */
const maxWrites = 100;
const maxBytes = 4 * 1024 * 1024;
/** What a change takes at most, beside the header block of the enricher and its recipients. */
const plainBytes = 16 * 1024;
/** With the reply of a next hop. */
const recipientBytes = 5 * 1024;

/**
 * One statement for all mails to which the same is done with other values, which costs the database a
 * fraction: a pipeline picks each mail's values by its id.
 */
export const together: WriteForm = (writes) => {
  const alike = Map.groupBy(updatesOf(writes), ({ update }) => shapeOf(update));
  return [...alike.values()]
    .flatMap(parted)
    .map((part) => (part.length === 1 ? alone(part[0]) : asOne(part)));
};

/** What `updateOf` gives. */
interface MailUpdate {
  $set: Record<string, unknown>;
  $unset?: Record<string, "">;
  $inc?: Record<string, number>;
  $push?: { history: { $each: readonly Document[]; $slice: number } };
}

/** As the driver leaves out what is undefined. */
function definedUpdate({ holding, change, mark }: GuardedWrite): MailUpdate {
  const { $set, ...others } = updateOf(change, mark, holding.form) as MailUpdate;
  const defined = Object.entries($set).filter(([, value]) => value !== undefined);
  return { $set: Object.fromEntries(defined), ...others };
}

/** Equal for updates of the same operators on the same paths. */
function shapeOf(update: MailUpdate): string {
  return JSON.stringify(
    Object.entries(update).map(([operator, paths]) => [operator, Object.keys(paths as object)]),
  );
}

type Part = [Updated, ...Updated[]];

function parted(all: readonly Updated[]): Part[] {
  const parts: Part[] = [];
  let bytes = Infinity;
  for (const one of all) {
    const more = bytesOf(one.write.change);
    const last = parts.at(-1);
    if (last === undefined || last.length >= maxWrites || bytes + more > maxBytes) {
      parts.push([one]);
      bytes = more;
    } else {
      last.push(one);
      bytes += more;
    }
  }
  return parts;
}

function bytesOf({ set: { enriched, recipients = [] } = {} }: MailChange): number {
  const headerBytes = enriched?.headerBlock?.length ?? 0;
  return plainBytes + headerBytes + recipients.length * recipientBytes;
}

/** In the record while the pipeline runs; not stored. */
const scratch = "written";

function asOne(part: Part): Statement {
  const [{ update }] = part;
  const { $set, $unset = {}, $inc = {}, $push } = update;
  const names = Object.keys($set);
  const values = part.map(({ update: its }) => [
    ...names.map((name) => its.$set[name]),
    ...(its.$push === undefined ? [] : [its.$push.history.$each]),
  ]);
  const writes = part.map(({ write }) => write);
  const ids = writes.map(({ holding }) => holding.mailId);
  const nth = (place: number) => ({ $arrayElemAt: [`$${scratch}`, place] });
  const added = Object.entries($inc).map(
    ([name, more]) => [name, { $add: [{ $ifNull: [`$${name}`, 0] }, more] }] as const,
  );
  const history = { $concatArrays: [{ $ifNull: ["$history", []] }, nth(names.length)] };
  const pipeline = [
    // A value is never read as an expression: an address may begin with `$`.
    { $set: { [scratch]: picked(values, ids) } },
    {
      $set: {
        ...Object.fromEntries(names.map((name, place) => [name, nth(place)])),
        ...Object.fromEntries(added),
        ...($push !== undefined && { history: { $slice: [history, -maxHistory] } }),
      },
    },
    { $unset: [scratch, ...Object.keys($unset)] },
  ];
  // An `$or` that stands at the top makes some servers look at every record, whatever the hint.
  const filter = { _id: { $in: ids }, $and: [{ $or: pairs(writes) }] };
  return {
    writes,
    operation: { updateMany: { filter, update: pipeline, hint: { _id: 1 } } },
  };
}

/** That of `values` which stands where the record's id stands in `ids`. */
function picked(values: readonly unknown[], ids: readonly string[]) {
  return { $arrayElemAt: [{ $literal: values }, { $indexOfArray: [{ $literal: ids }, "$_id"] }] };
}

/** Each mail with its own token and revision: a branch for all that have both in common. */
function pairs(writes: readonly GuardedWrite[]): Document[] {
  const same = Map.groupBy(writes, ({ holding, mark }) => `${holding.token} ${mark.rev}`);
  return [...same.values()].map((part) => ({
    _id: { $in: part.map(({ holding }) => holding.mailId) },
    ...guardOf(part[0] as GuardedWrite),
  }));
}
