import { describe, expect, it, vi } from "vitest";
import type { MailRecord } from "../../src/mail/record.ts";
import { holdingOf, openStore, useDatabase } from "./test-database.ts";
import { newMail } from "../../../test/support/new-mail.ts";

const database = useDatabase();

function claimOf(next: string, limit: number, owner = "dispatcher-1", leaseMs = 60_000) {
  return { states: ["incoming"] as const, next, limit, owner, leaseMs };
}

async function insertAll(mails: MailRecord[]): Promise<void> {
  const { store } = database();
  await Promise.all(mails.map((mail) => store.mails.insert(mail)));
}

describe("claims", () => {
  it("gives due mail of the asked state and step with a token, and no other", async () => {
    const { store } = database();
    const due = newMail({ next: "c1" });
    const later = newMail({ next: "c1", dueAt: new Date(Date.now() + 60_000) });
    const other = newMail({ next: "c1", state: "processing" });
    await insertAll([due, later, other, newMail({ next: "c1-other" })]);
    const before = store.clock.monotonicMs();
    const [claimed, ...more] = await store.mails.claim(claimOf("c1", 10));
    expect(more).toEqual([]);
    expect(claimed?.mail._id).toBe(due._id);
    expect(claimed?.holding.token).toMatch(/^[0-9a-f]{32}$/);
    expect(claimed?.mail.lease).toMatchObject({
      owner: "dispatcher-1",
      token: claimed?.holding.token,
    });
    expect(claimed?.mail.claims).toBe(1);
    expect(claimed?.validUntilMs).toBeGreaterThan(before + 50_000);
    expect(claimed?.validUntilMs).toBeLessThanOrEqual(before + 61_000);
  });

  it("never gives one mail to two claimers while its lease lives (I3)", async () => {
    const { store, uri, name } = database();
    await insertAll(Array.from({ length: 400 }, () => newMail({ next: "c2" })));
    const stores = [store, await openStore(uri, name), await openStore(uri, name)];
    const owners = new Map<string, string>();
    const counts = await Promise.all(
      stores.map(async (each, index) => {
        let count = 0;
        let misses = 0;
        while (misses < 3) {
          const claimed = await each.mails.claim(claimOf("c2", 20, `owner-${index}`));
          misses = claimed.length === 0 ? misses + 1 : 0;
          for (const { mail } of claimed) {
            expect(owners.has(mail._id)).toBe(false);
            owners.set(mail._id, `owner-${index}`);
          }
          count += claimed.length;
        }
        return count;
      }),
    );
    expect(owners.size).toBe(400);
    for (const count of counts) expect(count).toBeGreaterThan(40);
    await stores[1]?.close();
    await stores[2]?.close();
  });

  it("gives a mail again once its lease has run out, and drops the old holder's write (I3)", async () => {
    const { store } = database();
    await insertAll([newMail({ next: "c3" })]);
    const [first] = await store.mails.claim(claimOf("c3", 1, "slow", 300));
    expect(await store.mails.claim(claimOf("c3", 1, "quick"))).toEqual([]);
    const second = await vi.waitFor(async () => {
      const [claimed] = await store.mails.claim(claimOf("c3", 1, "quick"));
      expect(claimed).toBeDefined();
      return claimed;
    });
    const before = store.mails.staleWrites;
    const change = { set: { reason: "late" } };
    expect(await store.mails.write(holdingOf(first), change)).toBe("stale");
    expect(store.mails.staleWrites).toBe(before + 1);
    expect(await store.mails.write(holdingOf(second), change)).toBe("written");
    expect((await store.mails.get(second?.mail._id ?? ""))?.claims).toBe(2);
  });

  it("does not take a mail whose lease lives, whatever its dueAt says (I3)", async () => {
    const { store, db } = database();
    const mail = newMail({ next: "c4" });
    await insertAll([mail]);
    await store.mails.claim(claimOf("c4", 1));
    await db
      .collection("mails")
      .updateOne({ _id: mail._id as never }, { $set: { dueAt: new Date(0) } });
    expect(await store.mails.claim(claimOf("c4", 1, "thief"))).toEqual([]);
  });

  it("prolongs leases and names those that are another's", async () => {
    const { store, db } = database();
    await insertAll([newMail({ next: "c5" }), newMail({ next: "c5" }), newMail({ next: "c5" })]);
    const claimed = await store.mails.claim(claimOf("c5", 3, "me", 1_000));
    const held = claimed.map(({ holding }) => holding);
    const lost = held[1]?.mailId ?? "";
    await db
      .collection("mails")
      .updateOne({ _id: lost as never }, { $set: { "lease.token": "f".repeat(32) } });
    const before = store.clock.monotonicMs();
    const renewed = await store.mails.renew(held, 60_000);
    expect(renewed.stale).toEqual([lost]);
    expect(renewed.validUntilMs).toBeGreaterThan(before + 50_000);
    const kept = await store.mails.get(held[0]?.mailId ?? "");
    expect(kept?.lease?.until.getTime()).toBeGreaterThan(Date.now() + 50_000);
    expect(kept?.dueAt).toEqual(kept?.lease?.until);
  });

  it("claims what is named and nothing else, one or several, if it is due and free (I3)", async () => {
    const { store } = database();
    const mails = Array.from({ length: 5 }, () => newMail({ next: "c7" }));
    const later = newMail({ next: "c7", dueAt: new Date(Date.now() + 60_000) });
    const other = newMail({ next: "c7-other" });
    await insertAll([...mails, later, other]);
    const [a = "", b = "", c = ""] = mails.map(({ _id }) => _id);
    const claim = async (only: string[], owner?: string) => {
      const wanted = { ...claimOf("c7", only.length, owner), only };
      const claimed = await store.mails.claim(wanted);
      return claimed.map(({ mail }) => mail._id).sort();
    };
    expect(await claim([a])).toEqual([a]);
    expect(await claim([a], "thief")).toEqual([]);
    expect(await claim([b, a, c, later._id, other._id])).toEqual([b, c].sort());
    expect(await claim([later._id])).toEqual([]);
    expect(await claim([other._id])).toEqual([]);
    expect((await store.mails.get(a))?.claims).toBe(1);
    expect(await store.mails.claim(claimOf("c7", 10))).toHaveLength(2);
  });

  it("takes a mail that is named a moment before it is due", async () => {
    const { store } = database();
    const mail = newMail({ next: "c8", dueAt: new Date(store.clock.now().getTime() + 500) });
    await insertAll([mail]);
    const wanted = { ...claimOf("c8", 1), only: [mail._id] };
    expect(await store.mails.claim(wanted)).toHaveLength(1);
  });

  it("claims nothing for a limit of zero", async () => {
    const { store } = database();
    await insertAll([newMail({ next: "c6" })]);
    expect(await store.mails.claim(claimOf("c6", 0))).toEqual([]);
  });
});
