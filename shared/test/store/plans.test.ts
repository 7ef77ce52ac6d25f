import { generateKeyPairSync } from "node:crypto";
import { beforeEach, describe, expect, it } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { planHash, planRefOf, type Plan } from "../../src/mail/plan.ts";
import { createPlanStore, type PlanStore } from "../../src/store/plans.ts";
import { createMemoryLog } from "../bus/pool-and-worker.ts";
import { plan as somePlan } from "../life/mails.ts";
import { useDatabase } from "./test-database.ts";

const database = useDatabase();
const plans = () => database().db.collection<{ _id: string; expireAt?: Date }>("plans");
const dayMs = 86_400_000;
const retentionMs = {
  sent: 7 * dayMs,
  discarded: dayMs,
  quarantined: dayMs,
  bounced: dayMs,
  dead: dayMs,
};
const plan: Plan = { ...somePlan, retentionMs };

let nowMs = 0;
const clock = { ...systemClock, monotonicMs: () => nowMs };
const { log, lines } = createMemoryLog();
const open = (): PlanStore => createPlanStore(database().db, clock, log);

beforeEach(async () => {
  await plans().deleteMany({});
  lines.length = 0;
});

/** By a service that has seen none of them. */
async function readElsewhere(ref = planRefOf(plan)): Promise<Plan | undefined> {
  return (await open().load([ref.hash]))(ref);
}

describe("a plan", () => {
  it("is written once, whoever keeps it, and read by its hash with the documents of each record", async () => {
    const store = open();
    await Promise.all([store.keep(plan), store.keep({ ...plan, policyIds: ["x"], revision: 9 })]);
    await open().keep(plan);
    expect(await plans().countDocuments()).toBe(1);
    expect(await readElsewhere()).toEqual(plan);
    const other = planRefOf({ ...plan, policyIds: ["x"], revision: 9 });
    expect(await readElsewhere(other)).toEqual({ ...plan, policyIds: ["x"], revision: 9 });
  });

  it("is the same object for all mails of one policy", async () => {
    const store = open();
    await store.keep(plan);
    const { hash } = planRefOf(plan);
    const [one, other] = await Promise.all([store.load([hash]), store.load([hash])]);
    expect(one(planRefOf(plan))).toBe(other(planRefOf(plan)));
  });

  it("holds no private key, and another key makes another plan", async () => {
    const pem = () =>
      generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" }).toString();
    const signed = (privateKey: string): Plan => {
      const sign = { kind: "sign", domain: "a.example", selector: "s", privateKey } as const;
      const settings = { changes: [sign], spamThreshold: 5 };
      return { ...plan, enrich: { settings, settingsHash: "0".repeat(32) } };
    };
    const [one, other] = [signed(pem()), signed(pem())];
    expect(planHash(one)).not.toBe(planHash(other));
    await open().keep(one);
    expect(JSON.stringify(await plans().findOne())).not.toContain("PRIVATE KEY");
    const read = await readElsewhere(planRefOf(one));
    expect(read && planHash(read)).toBe(planHash(one));
    // A file's name is no secret.
    await open().keep(signed("file:/etc/dkim.pem"));
    expect(await plans().countDocuments()).toBe(2);
    expect(JSON.stringify(await plans().find().toArray())).toContain("file:/etc/dkim.pem");
  });

  it("goes when no record can need it, and stays a day longer each day that it is used", async () => {
    const store = open();
    await store.keep(plan);
    const leastMs = plan.relay.maxQueueMs + 30 * dayMs;
    const first = (await plans().findOne())?.expireAt;
    expect(first?.getTime()).toBeGreaterThan(Date.now() + leastMs + 2 * dayMs);
    await plans().updateOne({}, { $set: { expireAt: new Date(0) } });
    nowMs += dayMs - 1;
    await store.keep(plan);
    expect((await plans().findOne())?.expireAt).toEqual(new Date(0));
    nowMs += 2;
    await store.keep(plan);
    expect((await plans().findOne())?.expireAt?.getTime()).toBeGreaterThan(Date.now() + leastMs);
  });

  it("stays forever where some records do", async () => {
    await open().keep({ ...plan, retentionMs: { sent: dayMs } });
    expect((await plans().findOne())?.expireAt).toBeUndefined();
  });

  it("that is gone, or was changed by hand, is not read, and is written again for whom it was lost", async () => {
    const store = open();
    await store.keep(plan);
    await plans().updateOne({}, { $set: { "plan.relay.onUnknown": "hold" } });
    expect(await readElsewhere()).toBeUndefined();
    expect(lines.map(({ msg }) => msg)).toEqual([
      "a plan cannot be read: its mail is planned again",
    ]);
    await plans().deleteMany({});
    expect(await readElsewhere()).toBeUndefined();
    await store.keep(plan);
    expect(await readElsewhere()).toBeUndefined();
    await store.keep(plan, true);
    expect(await readElsewhere()).toEqual(plan);
  });
});
