import type { Collection, Document, Filter } from "mongodb";
import type { OwnCheck } from "../checks/own-check.ts";
import type { Logger } from "../logger.ts";
import { lanesOf } from "../mail/lane.ts";
import { adoptStep } from "../mail/stub.ts";
import { finalOutcomes, forEachEnd, outcomeSchema } from "../life/outcomes.ts";
import { mailStates, waitingStates, type MailState } from "../life/states.ts";
import type { MailRecord } from "../mail/record.ts";
import { reach, type StoredDocument } from "./connection.ts";
import { fromKey, mailIn, messageIdKey, plansOf, readMails, toKey } from "./mail-document.ts";
import type { PlanStore } from "./plans.ts";
import { unendedBeforeAlone } from "./poison.ts";
import {
  waitTasks,
  type Backlog,
  type Conservation,
  type DueMail,
  type MailQuery,
  type MailStore,
  type Waiting,
  type WaitTask,
} from "./mails.ts";

type Mails = Collection<StoredDocument>;

/** Whole records, with their plans. */
export interface Reading {
  mails: Mails;
  plans: PlanStore;
  log: Logger;
}

export function getMail({ mails, plans }: Reading, id: string): Promise<MailRecord | undefined> {
  return reach(async () => {
    const document = await mails.findOne({ _id: id });
    if (document === null) return undefined;
    return mailIn(document, await plansOf([document], plans));
  });
}

export function routesWaiting(mails: Mails, state: "ready" | "relaying"): Promise<string[]> {
  return reach(async () => {
    const routes: unknown[] = await mails.distinct("next", { state });
    return routes.filter((route) => typeof route === "string");
  });
}

/** Counts what waits by the claims index alone. */
export function waiting(mails: Mails): Promise<Waiting[]> {
  return reach(async () => {
    const groups = await mails.aggregate(waitingPipeline).toArray();
    return groups.map((group) => {
      const { state, next } = group._id as { state: MailState; next?: string | null };
      return {
        state,
        next: next ?? "",
        count: Number(group.count),
        // What is not a record yet may have anything in its place.
        oldestAt: group.oldestAt instanceof Date ? group.oldestAt : new Date(0),
      };
    });
  });
}

export const waitingPipeline = [
  { $match: { state: { $in: [...waitingStates] } } },
  {
    $group: {
      _id: { state: "$state", next: "$next" },
      count: { $sum: 1 },
      oldestAt: { $min: "$receivedAt" },
    },
  },
];

export function countStates(mails: Mails): Promise<Record<MailState, number>> {
  return reach(async () => {
    const groups = await mails.aggregate(statesPipeline).toArray();
    const counts = new Map(groups.map(({ _id, count }) => [_id as unknown, Number(count)]));
    const entries = mailStates.map((state) => [state, counts.get(state) ?? 0] as const);
    return Object.fromEntries(entries) as Record<MailState, number>;
  });
}

export const statesPipeline = [
  { $match: { state: { $in: [...mailStates] } } },
  { $group: { _id: "$state", count: { $sum: 1 } } },
];

/** A database that takes longer is asked again later: what ingest last knew holds until then. */
const backlogWithinMs = 10_000;

/**
 * Looks at no more than `limit` + 1 keys of the claims index, and at no document. Stubs are left out:
 * nothing was accepted yet. If there are
 * more, their number is what counts; below it, all of them are seen and the oldest is the oldest.
 */
export function backlog(mails: Mails, limit: number, now: Date): Promise<Backlog> {
  return reach(async () => {
    const groups = await mails
      .aggregate(backlogPipeline(limit), { maxTimeMS: backlogWithinMs })
      .toArray();
    const oldest: unknown = groups.find(({ _id }) => _id === "incoming")?.dueAt;
    return {
      count: groups.reduce((sum, { count }) => sum + Number(count), 0),
      // The lease of a mail in hand ends later than now.
      untakenSince: oldest instanceof Date && oldest <= now ? oldest : undefined,
    };
  });
}

export function backlogPipeline(limit: number): Document[] {
  return [
    { $match: { state: { $in: ["incoming", "processing"] }, next: { $ne: adoptStep } } },
    { $limit: limit + 1 },
    { $group: { _id: "$state", count: { $sum: 1 }, dueAt: { $min: "$dueAt" } } },
  ];
}

/** Served by the claims index: one seek for each step. */
export function isBehind(
  mails: Mails,
  { next, lateMs, mails: most }: Parameters<MailStore["isBehind"]>[0],
  now: Date,
): Promise<boolean> {
  return reach(async () => {
    const late = {
      state: { $in: ["incoming", "processing"] },
      next: { $in: [...next] },
      dueAt: { $lte: new Date(now.getTime() - lateMs) },
      unended: { $not: { $gte: unendedBeforeAlone } },
    };
    const options = { projection: { _id: 1 }, limit: most + 1 };
    return (await mails.find(late, options).toArray()).length > most;
  });
}

/** Of these many keys more is not asked: mail waits for whatever was asked about. */
const keysAtMost = 50;

/** Served by the claims index alone, as `isBehind`. */
export function dueFor(
  mails: Mails,
  { states, next }: Parameters<MailStore["dueFor"]>[0],
  now: Date,
): Promise<string[]> {
  return reach(async () => {
    const due = { state: { $in: [...states] }, next: { $in: [...next] }, dueAt: { $lte: now } };
    const options = { projection: { _id: 0, next: 1 }, limit: keysAtMost };
    const found = await mails.find(due, options).toArray();
    if (found.length === keysAtMost) return [...next];
    const names = new Set(found.map((key): unknown => key.next));
    return next.filter((name) => names.has(name));
  });
}

function dueStates(task: WaitTask): MailState[] {
  if (task === "plan") return ["incoming", "processing"];
  if (task === "retry") return ["held"];
  return task === "relay" ? ["ready", "relaying"] : ["processing"];
}

/**
 * One task after the other, each by at most `limit` keys of the claims index and no document. Where
 * there are more, the oldest is that of those which the index has first.
 */
export function dueMails(
  mails: Mails,
  limit: number,
  now: Date,
  own: readonly OwnCheck[] = [],
): Promise<Record<WaitTask, DueMail>> {
  return reach(async () => {
    const tasks = waitTasks(own);
    // Where nothing at all is due, one question says so.
    const [any] = await mails.find(anyDue(now), { projection: { _id: 1 }, limit: 1 }).toArray();
    if (any === undefined)
      return Object.fromEntries(
        tasks.map((task) => [task, { count: 0, since: undefined }]),
      ) as Record<WaitTask, DueMail>;
    const entries: [WaitTask, DueMail][] = [];
    for (const task of tasks) {
      const [group] = await mails
        .aggregate(duePipeline(task, limit, now), { maxTimeMS: backlogWithinMs })
        .toArray();
      const since: unknown = group?.dueAt;
      entries.push([
        task,
        { count: Number(group?.count ?? 0), since: since instanceof Date ? since : undefined },
      ]);
    }
    return Object.fromEntries(entries) as Record<WaitTask, DueMail>;
  });
}

function anyDue(now: Date): Filter<StoredDocument> {
  const states = waitTasks([]).flatMap(dueStates);
  return { state: { $in: [...new Set(states)] }, dueAt: { $lte: now } };
}

export function duePipeline(task: WaitTask, limit: number, now: Date): Document[] {
  const next = task === "relay" ? {} : { next: task === "spam" ? { $in: lanesOf(task) } : task };
  // The lease of a mail in hand ends later than now.
  return [
    { $match: { state: { $in: dueStates(task) }, ...next, dueAt: { $lte: now } } },
    { $limit: limit },
    { $group: { _id: null, count: { $sum: 1 }, dueAt: { $min: "$dueAt" } } },
  ];
}

export function findMails(reading: Reading, query: MailQuery): Promise<MailRecord[]> {
  return reach(async () => {
    const documents = await reading.mails
      .find(findFilter(query), { sort: { receivedAt: -1 }, limit: query.limit })
      .toArray();
    return readable(reading, documents);
  });
}

export function findFilter(query: MailQuery): Filter<StoredDocument> {
  const { to, from, messageId, since, until, state, unknown, unreported } = query;
  const keys = [
    ...(to === undefined ? [] : [toKey(to)]),
    ...(from === undefined ? [] : [fromKey(from)]),
    ...(messageId === undefined ? [] : [messageIdKey(messageId)]),
  ];
  const receivedAt = {
    ...(since === undefined ? {} : { $gte: since }),
    ...(until === undefined ? {} : { $lte: until }),
  };
  const isTimed = Object.keys(receivedAt).length > 0;
  // An open end in the filter, so that the index on the time serves a search for nothing at all.
  const always = keys.length === 0 && state === undefined && !isTimed && unreported === undefined;
  return {
    ...(keys.length === 0 ? {} : { lookup: { $all: keys } }),
    ...(isTimed ? { receivedAt } : {}),
    ...(state === undefined ? {} : { state }),
    ...(unknown === undefined ? {} : { unknown: { $exists: true } }),
    ...(unreported === undefined ? {} : { "recipients.report": "none" }),
    ...(always ? { receivedAt: { $gte: new Date(0) } } : {}),
  };
}

export function childrenOf(reading: Reading, parentId: string): Promise<MailRecord[]> {
  return reach(async () => {
    const documents = await reading.mails.find({ parentId }, { sort: { _id: 1 } }).toArray();
    return readable(reading, documents);
  });
}

/**
 * I1 by counting: accepted are the recipients of root mails; their fates are found in every mail that
 * was not split. Children of a split that is not finished yet stand for nothing so far.
 */
export function countOutcomes(mails: Mails): Promise<Conservation> {
  return reach(async () => {
    const unfinished = await mails.find(unfinishedSplits, { projection: { _id: 1 } }).toArray();
    const ids = unfinished.map(({ _id }) => _id);
    const groups = await mails.aggregate(outcomesPipeline(ids)).toArray();
    const conservation: Conservation = {
      accepted: 0,
      open: 0,
      ...forEachEnd(() => 0),
      holds: false,
      dsn: { sent: 0, dead: 0, open: 0, other: 0 },
    };
    for (const group of groups) add(conservation, group._id as Group, Number(group.count));
    const ended = finalOutcomes.reduce((sum, outcome) => sum + conservation[outcome], 0);
    conservation.holds = conservation.accepted === ended + conservation.open;
    return conservation;
  });
}

interface Group {
  isDsn: boolean;
  isRoot: boolean;
  isSplit: boolean;
  outcome: unknown;
}

function add(conservation: Conservation, group: Group, count: number): void {
  // An end that we do not know is none yet: another version wrote it.
  const outcome = outcomeSchema.catch("open").parse(group.outcome);
  if (group.isDsn) {
    const place =
      outcome === "sent" || outcome === "dead" || outcome === "open" ? outcome : "other";
    conservation.dsn[place] += count;
    return;
  }
  if (group.isRoot) conservation.accepted += count;
  if (!group.isSplit) conservation[outcome] += count;
}

export const unfinishedSplits = {
  state: { $in: mailStates.filter((state) => state !== "split") },
  groups: { $exists: true },
};

export function outcomesPipeline(unfinishedIds: readonly string[]): Document[] {
  return [
    { $match: { state: { $in: [...mailStates] }, parentId: { $nin: [...unfinishedIds] } } },
    { $unwind: "$recipients" },
    {
      $group: {
        _id: {
          isDsn: { $eq: ["$origin.via", "dsn"] },
          isRoot: { $eq: [{ $type: "$parentId" }, "missing"] },
          isSplit: { $eq: ["$state", "split"] },
          outcome: "$recipients.outcome",
        },
        count: { $sum: 1 },
      },
    },
  ];
}

async function readable(
  { plans, log }: Reading,
  documents: readonly StoredDocument[],
): Promise<MailRecord[]> {
  const read = await readMails(documents, plans);
  return read.flatMap((one, place) => {
    if ("mail" in one) return [one.mail];
    log.error({ mailId: documents[place]?._id, reason: one.reason }, "a record cannot be read");
    return [];
  });
}
