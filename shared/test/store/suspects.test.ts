import { Long } from "mongodb";
import { describe, expect, it, vi } from "vitest";
import { newToken } from "../../src/ids.ts";
import { whyPoison } from "../../src/store/poison.ts";
import { holdingOf, useDatabase } from "./test-database.ts";
import { newMail } from "../../../test/support/new-mail.ts";

const database = useDatabase();
const states = ["incoming"] as const;
const leaseMs = 50;

/** Claims like a service that is killed immediately; returns when the lease is over. */
async function claimAndDie(next: string, times: number): Promise<void> {
  const { store } = database();
  for (let time = 1; time <= times; time++) {
    await vi.waitFor(async () => {
      const claimed = await store.mails.claim({ states, next, limit: 9, owner: "dead", leaseMs });
      expect(claimed.length).toBeGreaterThan(0);
    });
  }
}

async function claimAlone(next: string, without: string[] = []) {
  const { store } = database();
  const token = newToken();
  const claim = { states, next: [next], owner: "lane", leaseMs, token, without };
  const claimed = await vi.waitFor(async () => {
    const found = await store.mails.claimSuspect(claim);
    if (found === undefined) throw new Error("no suspect is due yet");
    return found;
  });
  return { ...claimed, token, owner: "lane" };
}

async function suspect(next: string): Promise<string> {
  const mail = newMail({ next });
  await database().store.mails.insert(mail);
  await claimAndDie(next, 3);
  return mail._id;
}

describe("claims that end without a word", () => {
  it("make a mail a suspect after three in a row, which no ordinary claim takes", async () => {
    const { store } = database();
    const asked = { states, next: ["s1"], owner: "lane", leaseMs };
    expect(await store.mails.suspectWaits(asked)).toBe(false);
    const id = await suspect("s1");
    await vi.waitFor(async () => expect(await store.mails.suspectWaits(asked)).toBe(true));
    const others = await store.mails.claim({ states, next: "s1", limit: 9, owner: "x", leaseMs });
    expect(others).toEqual([]);
    const { mail, token } = await claimAlone("s1");
    expect(mail).toMatchObject({ _id: id, unended: 4, claims: 4, alone: [`${token} lane`] });
    expect(await store.mails.suspectWaits({ ...asked, next: ["elsewhere"] })).toBe(false);
  });

  it("withhold what the mail carries from a third claim alone, and say why it is poison", async () => {
    const { db } = database();
    const id = await suspect("s-block");
    const enriched = {
      headerBlock: Buffer.from("kills"),
      ...{ restOffset: 0, sha256: "0".repeat(64), size: 1, settingsHash: "", notes: [] },
      ...{ verdictsHash: "", worker: "w", queueMs: 0, workMs: 0, at: new Date() },
    };
    await db.collection<{ _id: string }>("mails").updateOne({ _id: id }, { $set: { enriched } });
    for (const time of [1, 2]) {
      const { mail, token } = await claimAlone("s-block");
      expect([time, whyPoison(mail, token)]).toEqual([time, undefined]);
      expect(mail.enriched?.headerBlock).toBeDefined();
    }
    const { mail, token } = await claimAlone("s-block");
    expect(whyPoison(mail, token)).toMatch(/^services ended over it: 3 had it among others/);
    expect(mail.enriched).toMatchObject({ size: 1 });
    expect(mail.enriched?.headerBlock).toBeUndefined();
  });

  it("are forgotten when a holder gives the mail up properly", async () => {
    const { store } = database();
    const id = await suspect("s2");
    const { holding } = await claimAlone("s2");
    await store.mails.write(holding, {
      set: { next: "s2-on", dueAt: new Date(0) },
      releaseLease: true,
    });
    const mail = await store.mails.get(id);
    expect(mail?.unended).toBeUndefined();
    expect(mail?.alone).toBeUndefined();
    const [again] = await store.mails.claim({
      states,
      next: "s2-on",
      limit: 1,
      owner: "x",
      leaseMs,
    });
    expect(again?.mail._id).toBe(id);
  });

  it("stay as they were when it gives the mail back untried", async () => {
    const { store } = database();
    const mail = newMail({ next: "s3" });
    await store.mails.insert(mail);
    await claimAndDie("s3", 1);
    const back = { set: { dueAt: new Date(0) }, releaseLease: true, untried: true };
    for (let time = 1; time <= 5; time++) {
      const [claimed] = await vi.waitFor(async () => {
        const found = await store.mails.claim({
          states,
          next: "s3",
          limit: 1,
          owner: "x",
          leaseMs,
        });
        expect(found).toHaveLength(1);
        return found;
      });
      await store.mails.write(holdingOf(claimed), back);
    }
    expect(await store.mails.get(mail._id)).toMatchObject({ unended: 1, claims: 6 });
  });

  it("made alone count only if the holder never says that it lived, however late", async () => {
    const { store } = database();
    const id = await suspect("s4");
    const first = await claimAlone("s4");
    const second = await claimAlone("s4");
    expect(whyPoison(second.mail, second.token)).toBeUndefined();
    const third = await claimAlone("s4");
    expect(whyPoison(third.mail, third.token)).toBe(
      "services ended over it: 3 had it among others, then alone lane, lane",
    );
    await store.mails.livedThrough(first);
    await store.mails.livedThrough(first);
    const mail = await store.mails.get(id);
    expect(mail?.alone).toEqual([`${second.token} lane`, `${third.token} lane`]);
    expect(whyPoison({ ...third.mail, alone: mail?.alone }, third.token)).toBeUndefined();
  });

  it.each([
    ["claims that are a string", { claims: "many" }],
    ["notes that are a string", { alone: "many" }],
    ["more claims than can be counted", { unended: Long.MAX_VALUE }],
  ])("of a document with %s make it a dead letter, and stop no other suspect", async (_, wrong) => {
    const { store, db } = database();
    const mails = db.collection<{ _id: string }>("mails");
    const id = await suspect("s6");
    await mails.updateOne({ _id: id }, { $set: wrong });
    const other = await suspect("s6");
    const alone = { states, next: ["s6"], owner: "lane", leaseMs, without: [] };
    const claimed = new Set<string>();
    await vi.waitFor(async () => {
      const found = await store.mails.claimSuspect({ ...alone, token: newToken() });
      if (found !== undefined) claimed.add(found.mail._id);
      expect(await mails.findOne({ _id: id })).toMatchObject({ state: "dead" });
      expect(claimed).toEqual(new Set([other]));
    });
    await mails.deleteMany({ next: "s6" });
  });

  it("leave out what was already taken", async () => {
    const { store } = database();
    const id = await suspect("s5");
    const { holding } = await claimAlone("s5");
    await store.mails.write(holding, {
      set: { dueAt: new Date(0) },
      releaseLease: true,
      untried: true,
    });
    const again = {
      states,
      next: ["s5"],
      owner: "lane",
      leaseMs,
      token: newToken(),
      without: [id],
    };
    expect(await store.mails.claimSuspect(again)).toBeUndefined();
  });
});
