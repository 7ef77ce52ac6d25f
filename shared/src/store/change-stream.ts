import { setTimeout as delay } from "node:timers/promises";
import {
  MongoServerError,
  type ChangeStream,
  type ChangeStreamOptions,
  type Collection,
  type Document,
} from "mongodb";
import type { Clock } from "../clock.ts";
import { messageOf } from "../errors.ts";
import type { Logger } from "../logger.ts";
import { adoptStep } from "../mail/stub.ts";
import { mailStateSchema } from "../life/states.ts";
import { isPassing, type StoredDocument } from "./connection.ts";
import type { MailHint, WatchOptions } from "./mails.ts";

export interface FollowOptions {
  /** Opens the stream, at the token if there is one. */
  open: (options: ChangeStreamOptions) => ChangeStream;
  onChange: (change: Document) => void;
  /** The stream is open again and changes before that were missed: look at everything. */
  onLost: () => void;
  signal: AbortSignal;
  log: Logger;
  /** For the log: what is watched. */
  name: string;
}

const firstRetryMs = 100;
const longestRetryMs = 5_000;
/** How long the server waits for a change before it says that there is none. */
const maxAwaitTimeMS = 4_000;
/** Under load, changes of this time are fetched together: a fetch costs both sides as much as a query. */
const companyMs = 25;
/** A change that took longer to come was fetched; others came along with the one before. */
const atOnceMs = 1;

/**
 * Follows a change stream until `signal` aborts. It is a hint and never more (I6): whatever breaks
 * is reopened, at the last token if the server still has it, else at the present, and then
 * `onLost` says so, after the reopening, so that nothing falls between rescan and stream.
 */
export async function followChanges(options: FollowOptions): Promise<void> {
  const { signal, log, name } = options;
  let token: unknown;
  let missed = false;
  let failures = 0;
  while (!signal.aborted) {
    const at = token === undefined ? {} : { resumeAfter: token };
    const stream = options.open({ ...at, maxAwaitTimeMS });
    const close = () => void stream.close().catch(() => undefined);
    signal.addEventListener("abort", close, { once: true });
    try {
      await readStream(stream, options, () => {
        failures = 0;
        if (missed) options.onLost();
        missed = false;
      });
    } catch (error) {
      if (isAborted(signal)) return;
      token = mayResume(error) ? stream.resumeToken : undefined;
      missed ||= token === undefined;
      failures += 1;
      const reason = messageOf(error);
      log.warn({ reason, resumed: token !== undefined }, `change stream of ${name} broke`);
    } finally {
      signal.removeEventListener("abort", close);
      await stream.close().catch(() => undefined);
    }
    const retryMs = Math.min(firstRetryMs * 2 ** (failures - 1), longestRetryMs);
    await delay(retryMs, undefined, { signal }).catch(() => undefined);
  }
}

async function readStream(
  stream: ChangeStream,
  { onChange, signal }: FollowOptions,
  onOpen: () => void,
): Promise<void> {
  let first: Document | null = await stream.tryNext();
  onOpen();
  while (!signal.aborted) {
    const askedAt = performance.now();
    const change: Document = first ?? (await stream.next());
    const wasFetched = first === null && performance.now() - askedAt >= atOnceMs;
    first = null;
    onChange(change);
    if (wasFetched) await delay(companyMs, undefined, { signal }).catch(() => undefined);
  }
}

/** Read again each time: an abort during an await is not narrowed away. */
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}

/**
 * A network error leaves the token good. Of what the server refuses (286 ChangeStreamHistoryLost, 280
 * ChangeStreamFatalError, 260 InvalidResumeToken, 10334 BSONObjectTooLarge) the same token would only
 * bring the same again.
 */
function mayResume(error: unknown): boolean {
  return isPassing(error) && !(error instanceof MongoServerError && error.code === 286);
}

const inserted = "fullDocument";
const updated = "updateDescription.updatedFields";

/**
 * Only changes that bring mail to a dispatcher: new records, and a new `next`, whatever it is called, for
 * policies bring checks while the stream is open. Stubs come with their holder; what is ready is a relay's,
 * which whoever made it so tells. An update tells only what it has changed: the state is undefined if it stayed.
 */
const changes = [inserted, updated].map((at) => ({
  [`${at}.next`]: { $exists: true, $ne: adoptStep },
  [`${at}.state`]: { $nin: ["ready", "relaying"] },
}));

const pipeline = [
  { $match: { $or: changes } },
  {
    $project: {
      "documentKey._id": 1,
      [`${inserted}.state`]: 1,
      [`${inserted}.next`]: 1,
      [`${inserted}.dueAt`]: 1,
      [`${updated}.state`]: 1,
      [`${updated}.next`]: 1,
      [`${updated}.dueAt`]: 1,
    },
  },
];

/** The change stream on `mails` as hints. */
export function watchMails(
  mails: Collection<StoredDocument>,
  { onHint, onLost = () => onHint({}), signal }: WatchOptions,
  { log, clock }: { log: Logger; clock: Pick<Clock, "now"> },
): Promise<void> {
  return followChanges({
    signal,
    log,
    onLost,
    name: "mails",
    open: (at) => mails.watch(pipeline, at),
    onChange: (change) => {
      const hint = hintOf(change, clock.now());
      if (hint !== undefined) onHint(hint);
    },
  });
}

/** What is due later than this is the timer's. */
const soonMs = 1_000;

/** The hint in a change, or undefined if nobody can have that mail now. */
export function hintOf(change: Document, now: Date): MailHint | undefined {
  const update = change.updateDescription as { updatedFields?: Document } | undefined;
  const fields = (change.fullDocument as Document | undefined) ?? update?.updatedFields;
  if (typeof fields?.next !== "string") return undefined;
  const { dueAt } = fields as { dueAt?: unknown };
  if (dueAt instanceof Date && dueAt.getTime() > now.getTime() + soonMs) return undefined;
  const state = mailStateSchema.safeParse(fields.state);
  const mailId = (change.documentKey as { _id?: unknown } | undefined)?._id;
  return {
    ...(typeof mailId === "string" ? { mailId } : {}),
    next: fields.next,
    ...(state.success ? { state: state.data } : {}),
  };
}
