import { setTimeout as delay } from "node:timers/promises";
import type { Collection } from "mongodb";
import { RetryableError, messageOf } from "../errors.ts";
import type { BodyRef, Lease, MailRecord, RecordVersion } from "../mail/record.ts";
import {
  isPassing,
  isPassingCode,
  isWithoutServer,
  reach,
  unchanged,
  type StoredDocument,
} from "./connection.ts";
import type { DatabaseClock } from "./database-clock.ts";
import { createGroupCommit, type Settled } from "./group-commit.ts";
import { insertAll, refusalOf, writeErrorsOf, type Mark } from "./inserts.ts";
import { notBefore, validUntil } from "./mail-claims.ts";
import { updateOf } from "./mail-change.ts";
import { freshMark, type Holding } from "./holding.ts";
import { documentOf } from "./mail-document.ts";
import type { MailChange } from "../life/change.ts";
import type { MailStore } from "./mails.ts";
import type { PlanStore } from "./plans.ts";
import { eachAlone, together, type GuardedWrite, type Statement } from "./write-forms.ts";

export interface WriteDeps {
  mails: Collection<StoredDocument>;
  clock: DatabaseClock;
  lingerMs: number;
  plans: Pick<PlanStore, "keep">;
  version: () => RecordVersion;
}

type Written = "written" | "stale";

const attempts = 3;
const retryAfterMs = 200;

/** No two who store a mail under one id have put the same body; the children of a split share its. */
export const ownBody: Mark = {
  projection: { "body.id": 1 },
  of: ({ body }) => (body as Partial<BodyRef> | undefined)?.id,
};

/** New mails, many in one unordered insert; an id that is there already is not an error. */
export function createInserts({ mails, lingerMs, plans, version }: WriteDeps) {
  const group = createGroupCommit<StoredDocument, "inserted" | "present">({
    lingerMs,
    maxItems: 500,
    concurrency: 2,
    keyOf: ({ _id }) => _id,
    commit: (documents) => reach(() => insertAll(mails, documents, ownBody)),
  });
  return async (given: MailRecord) => group.add(await newDocument(given, { plans, version }));
}

/** The document of a new mail; its plan, if it has one, is kept by then. */
export async function newDocument(
  given: MailRecord,
  { plans, version }: Pick<WriteDeps, "plans" | "version">,
): Promise<StoredDocument> {
  const mail = { ...given, v: version() };
  if (mail.v >= 2 && mail.plan !== undefined) await plans.keep(mail.plan);
  return documentOf(mail);
}

/**
 * Guarded writes of progress, many in one bulk (I3). A change has one mark, however often its write is
 * asked for: who does not know whether it was made may ask again.
 */
export function createWrites({ mails, lingerMs, plans }: WriteDeps, onStale: () => void) {
  const group = createGroupCommit<GuardedWrite, Written>({
    lingerMs,
    maxItems: 500,
    concurrency: 2,
    keyOf: ({ holding }) => holding.mailId,
    commit: (writes) => reach(() => new GroupOfWrites(mails, writes).settle()),
  });
  return async (holding: Holding, change: MailChange): Promise<Written> => {
    const mark = holding.markOf(change);
    const { plan } = change.set ?? {};
    // The plan first: a record never names one that is not there.
    if (plan !== undefined && holding.form.v >= 2) await plans.keep(plan, holding.isPlanLost);
    const written = await group.add({ holding, change, mark });
    if (written === "stale") onStale();
    return written;
  };
}

/**
 * One bulk; then, only if not all matched or an error came, the records are read back: a write is
 * done where its mark is, stale where token and mark are gone, and otherwise tried again.
 */
class GroupOfWrites {
  readonly #mails: Collection<StoredDocument>;
  readonly #writes: readonly GuardedWrite[];
  readonly #settled = new Map<GuardedWrite, Settled<Written>>();
  /** The server refused the statement that they were in. */
  readonly #apart = new Set<GuardedWrite>();
  #last: unknown;

  constructor(mails: Collection<StoredDocument>, writes: readonly GuardedWrite[]) {
    this.#mails = mails;
    this.#writes = writes;
  }

  async settle(): Promise<Settled<Written>[]> {
    for (let attempt = 1; attempt <= attempts && this.#open().length > 0; attempt++) {
      if (attempt > 1) await delay(retryAfterMs * (attempt - 1));
      while ((await this.#try()) === "refused");
    }
    const open = this.#open();
    if (open.length > 0) {
      const code = isPassing(this.#last) ? "STORE_UNREACHABLE" : "STORE_WRITE_UNCERTAIN";
      const error = new RetryableError(code, messageOf(this.#last), { cause: this.#last });
      for (const write of open) this.#settled.set(write, { error });
    }
    return this.#writes.map((write) => this.#settled.get(write) as Settled<Written>);
  }

  #open(): GuardedWrite[] {
    return this.#writes.filter((write) => !this.#settled.has(write));
  }

  /** `refused`: what was in one statement is to be tried each alone, immediately. */
  async #try(): Promise<"refused" | undefined> {
    const open = this.#open();
    const statements = [
      ...together(open.filter((write) => !this.#apart.has(write))),
      ...eachAlone(open.filter((write) => this.#apart.has(write))),
    ];
    try {
      const operations = statements.map(({ operation }) => operation);
      const { matchedCount } = await this.#mails.bulkWrite(operations, { ordered: false });
      if (matchedCount === open.length) {
        for (const write of open) this.#settled.set(write, { value: "written" });
        return undefined;
      }
    } catch (error) {
      this.#last = error;
      if (this.#hear(error, statements)) return "refused";
    }
    await this.#readBack();
    return undefined;
  }

  /** What an error says of single statements; true: some were of several mails. */
  #hear(error: unknown, statements: readonly Statement[]): boolean {
    if (isWithoutServer(error)) throw error;
    const said = writeErrorsOf(error);
    const lasting = said.filter(({ code }) => !isPassingCode(code));
    // The whole command was refused.
    const isWhole = said.length === 0 && !isPassing(error);
    const refused = isWhole ? statements.map((_, index) => ({ index, code: 0 })) : lasting;
    let isOfSeveral = false;
    for (const refusal of refused) {
      const { writes = [] } = statements[refusal.index] ?? {};
      const [first, second] = writes;
      if (second !== undefined) {
        isOfSeveral = true;
        for (const write of writes) this.#apart.add(write);
      } else if (first !== undefined && !isWhole) {
        this.#settled.set(first, { error: refusalOf(refusal, error) });
      }
    }
    if (isWhole && !isOfSeveral) throw error;
    return isOfSeveral;
  }

  async #readBack(): Promise<void> {
    const open = this.#open();
    try {
      const found = await readBack(this.#mails, open);
      for (const write of open) {
        const value = found(write);
        if (value !== "open") this.#settled.set(write, { value });
      }
    } catch (error) {
      if (!isPassing(error)) throw error;
      this.#last = error;
    }
  }
}

async function readBack(
  mails: Collection<StoredDocument>,
  writes: GuardedWrite[],
): Promise<(write: GuardedWrite) => Written | "open"> {
  const ids = writes.map(({ holding }) => holding.mailId);
  const projection = { rev: 1, wrote: 1, "lease.token": 1 };
  const found = await mails.find({ _id: { $in: ids } }, { projection }).toArray();
  const byId = new Map(found.map((document) => [document._id, document]));
  return ({ holding, mark }) => {
    const document = byId.get(holding.mailId);
    if (document?.wrote === mark.wrote && Number(document.rev) >= mark.rev) return "written";
    const lease = document?.lease as Partial<Lease> | undefined;
    return lease?.token === holding.token ? "open" : "stale";
  };
}

/** Prolongs leases: one update for each token, since mails that were claimed together share theirs. */
export async function renewLeases(
  { mails, clock }: WriteDeps,
  held: Parameters<MailStore["renew"]>[0],
  leaseMs: number,
): ReturnType<MailStore["renew"]> {
  const sentMs = clock.monotonicMs();
  const validUntilMs = validUntil(clock, sentMs, leaseMs);
  if (held.length === 0) return { validUntilMs, stale: [] };
  const until = new Date(clock.now().getTime() + leaseMs);
  const byToken = Map.groupBy(held, ({ token }) => token);
  const operations = [...byToken].map(([token, mails]) => ({
    updateMany: {
      filter: { _id: { $in: mails.map(({ mailId }) => mailId) }, "lease.token": token },
      // A late try of an older renewal must not shorten the lease.
      update: { $max: { "lease.until": until, dueAt: until } },
    },
  }));
  return reach(async () => {
    const { matchedCount } = await mails.bulkWrite(operations, { ordered: false });
    if (matchedCount === held.length) return { validUntilMs, stale: [] };
    const ids = held.map(({ mailId }) => mailId);
    const found = await mails
      .find({ _id: { $in: ids } }, { projection: { "lease.token": 1 } })
      .toArray();
    const tokens = new Map(
      found.map(({ _id, lease }) => [_id, (lease as { token?: string } | undefined)?.token]),
    );
    const stale = held.filter(({ mailId, token }) => tokens.get(mailId) !== token);
    return { validUntilMs, stale: stale.map(({ mailId }) => mailId) };
  });
}

/** A person's change, which no lease guards. */
export function writeAsPerson(
  { mails, clock }: WriteDeps,
  mailId: string,
  guard: Parameters<MailStore["writeAs"]>[1],
  change: MailChange,
): Promise<"written" | "refused"> {
  const mark = freshMark();
  const filter = {
    _id: mailId,
    state: { $in: [...guard.states] },
    wrote: { $ne: mark.wrote },
    ...(guard.unleased ? { "lease.until": notBefore(clock, clock.now()) } : {}),
    ...(guard.seen === undefined ? {} : { rev: unchanged(guard.seen.rev) }),
  };
  // A holder whose lease has run out must not write over what the person decided.
  const releaseLease = change.set?.lease === undefined;
  const update = updateOf({ ...change, releaseLease }, mark);
  return reach(async () => {
    const isDone = async () => (await mails.findOne({ _id: mailId, ...mark })) !== null;
    try {
      const { matchedCount } = await mails.updateOne(filter, update);
      // What the driver's first try has done does not match its second any more.
      return matchedCount === 1 || (await isDone()) ? "written" : "refused";
    } catch (error) {
      if (!isPassing(error) || isWithoutServer(error) || !(await isDone())) throw error;
      return "written";
    }
  });
}
