import type { Db } from "mongodb";
import { BoundedMap } from "../bounded-map.ts";
import type { Clock } from "../clock.ts";
import { finalOutcomes } from "../life/outcomes.ts";
import type { Logger } from "../logger.ts";
import { contentOf, planHash, planSchema, type Plan, type PlanRef } from "../mail/plan.ts";
import { collectionOf, reach, type StoredDocument } from "./connection.ts";
import { upserting } from "./inserts.ts";

/**
 * The plans by which mail goes, each once, by the hash of its content (collection `plans`): a record
 * keeps the hash. A plan never changes, so what was read once is known.
 */
export interface PlanStore {
  /**
   * Sees to it that the plan is durable; at most one write a day for each plan. `isLost`: somebody could
   * not read it, so it is written whatever is known of it.
   */
  keep(plan: Plan, isLost?: boolean): Promise<void>;
  /** Looks these up, in one round trip for all that are not known yet. */
  load(hashes: readonly string[]): Promise<PlanOf>;
}

/** A plan that was looked up; undefined: it is not there, or cannot be read. */
export type PlanOf = (ref: PlanRef) => Plan | undefined;

const dayMs = 86_400_000;
/** A mail may take it a day after it was written here, and another until the next write. */
const marginMs = 3 * dayMs;
/** A record of which nobody was told stays for so long, whatever its plan says. */
const leastKeptMs = 30 * dayMs;
/** Known at once; each is about 2 KB. */
const maxKnown = 20_000;

export function createPlanStore(db: Db, clock: Clock, log: Logger): PlanStore {
  const plans = collectionOf(db, "plans");
  const known = new BoundedMap<string, Plan>(maxKnown);
  /** With the documents that they came of: the same object for all mails of one policy. */
  const whole = new BoundedMap<string, Plan>(maxKnown);
  const keptAtMs = new BoundedMap<string, number>(maxKnown);
  const keeping = new Map<string, Promise<void>>();

  const find = (hashes: string[]) => reach(() => plans.find({ _id: { $in: hashes } }).toArray());
  const write = async (hash: string, plan: Plan) => {
    const expireAt = expiryOf(plan, clock.now());
    const document = { plan: contentOf(plan), ...(expireAt !== undefined && { expireAt }) };
    const begunMs = clock.monotonicMs();
    await reach(() => upserting(() => plans.replaceOne({ _id: hash }, document, { upsert: true })));
    known.set(hash, plan);
    keptAtMs.set(hash, begunMs);
  };
  return {
    async keep(plan, isLost = false) {
      const hash = planHash(plan);
      const isFresh = clock.monotonicMs() - (keptAtMs.get(hash) ?? -Infinity) < dayMs;
      if (isFresh && !isLost) return;
      const under = keeping.get(hash) ?? write(hash, plan).finally(() => keeping.delete(hash));
      keeping.set(hash, under);
      await under;
    },
    async load(hashes) {
      // What is known may be forgotten before it is asked for.
      const loaded = new Map(hashes.map((hash) => [hash, known.get(hash)]));
      const unknown = [...loaded.keys()].filter((hash) => loaded.get(hash) === undefined);
      for (const document of unknown.length === 0 ? [] : await find(unknown)) {
        const plan = readPlan(document);
        if (plan === undefined) {
          log.error({ plan: document._id }, "a plan cannot be read: its mail is planned again");
          continue;
        }
        known.set(document._id, plan);
        loaded.set(document._id, plan);
      }
      return ({ hash, policyIds, revision }) => {
        const content = loaded.get(hash);
        if (content === undefined) return undefined;
        const name = JSON.stringify([hash, revision, policyIds]);
        const plan = whole.get(name) ?? { ...content, policyIds, revision };
        whole.set(name, plan);
        return plan;
      };
    },
  };
}

/** Its hash is what it was asked for by, so that nobody's hand can have changed it. */
function readPlan({ _id, plan }: StoredDocument): Plan | undefined {
  const parsed = planSchema.safeParse({ ...(plan as object), policyIds: [], revision: 0 });
  return parsed.success && planHash(parsed.data) === _id ? parsed.data : undefined;
}

/** When no final record can need it any more; undefined: some are kept forever. */
function expiryOf({ retentionMs, relay }: Plan, now: Date): Date | undefined {
  const longest = finalOutcomes.map((end) => retentionMs[end] ?? Infinity);
  const keepMs = relay.maxQueueMs + Math.max(leastKeptMs, ...longest) + marginMs;
  return keepMs === Infinity ? undefined : new Date(now.getTime() + keepMs);
}
