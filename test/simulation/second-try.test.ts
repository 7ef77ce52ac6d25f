import { setImmediate } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import { createStores } from "@rs-agent/shared/store/database.ts";
import { Holding } from "@rs-agent/shared/store/holding.ts";
import { connectDriver } from "./kit/database/driver.ts";
import { ReplicaSet } from "./kit/database/replica-set.ts";
import { Random } from "./kit/random.ts";
import { VirtualProcess, VirtualTime } from "./kit/virtual-time.ts";
import { newMail } from "../support/new-mail.ts";

/**
 * The stores on a virtual driver that tries every write twice: the first try does its part next to
 * the second.
 */
function storesWith(firstTakes: number) {
  const time = new VirtualTime();
  const set = new ReplicaSet(time, () => 0.1);
  const process = new VirtualProcess(time, "service", "dispatcher", new Random(1, "service"));
  const fateOf = () => ({ toMs: 0.1, backMs: 0.1, kind: "twice", firstTakes }) as const;
  const client = connectDriver({ time, set, fateOf, streamDelayMs: () => 1 }, process);
  const log = createSilentLogger();
  return {
    time,
    set,
    ...createStores({ client, name: "db", clock: process.clock, log, lingerMs: 0 }),
  };
}

const now = new Date(Date.UTC(2026, 0, 1));

describe.each([0.5, 1])("a write whose first try does %d of it next to the second", (part) => {
  let stores: ReturnType<typeof storesWith>;
  let isOver = false;
  let running: Promise<void>;

  beforeEach(() => {
    stores = storesWith(part);
    isOver = false;
    const run = async () => {
      while (!isOver) {
        await stores.time.run(() => isOver, Infinity);
        await setImmediate();
      }
    };
    running = run();
  });

  afterEach(async () => {
    isOver = true;
    await running;
  });

  const put = () => stores.bodies.put(Buffer.from("Subject: x\r\n\r\n"));

  it("I1: new mails are ours, and so are their bodies", async () => {
    const mails = (await Promise.all(Array.from({ length: 6 }, put))).map((body) =>
      newMail({ body, dueAt: now }),
    );
    const found = await Promise.all(mails.map((mail) => stores.mails.insert(mail)));
    expect(new Set(found)).toEqual(new Set(["inserted"]));
    expect(stores.set.majority("mails").size).toBe(6);
    for (const { body } of mails) await stores.bodies.get(body);
  });

  it("a mail that another has stored under this id is present, and stays", async () => {
    const mail = newMail({ body: await put(), dueAt: now });
    await stores.mails.insert(mail);
    expect(await stores.mails.insert({ ...mail, body: await put() })).toBe("present");
    expect((await stores.mails.get(mail._id))?.body).toEqual(mail.body);
  });

  it("progress is written once, and counts as written", async () => {
    const mail = newMail({ body: await put(), dueAt: now });
    await stores.mails.insert(mail);
    const states = ["incoming"] as const;
    const claim = { states, next: "plan", limit: 1, owner: "me", leaseMs: 5_000 };
    const [claimed] = await stores.mails.claim(claim);
    const set = { state: "processing" } as const;
    const change = { set, history: [{ at: now, event: "planned" as const }] };
    expect(await stores.mails.write(claimed?.holding ?? new Holding(mail, ""), change)).toBe(
      "written",
    );
    expect((await stores.mails.get(mail._id))?.history).toHaveLength(1);
  });

  it("a person's change is written, not refused", async () => {
    const mail = newMail({ body: await put(), dueAt: now });
    await stores.mails.insert(mail);
    const change = { set: { state: "held" } } as const;
    const guard = { states: ["incoming"], unleased: false } as const;
    expect(await stores.mails.writeAs(mail._id, guard, change)).toBe("written");
  });

  it("a suspect that is claimed is in hand", async () => {
    const mail = newMail({ body: await put(), dueAt: now, unended: 3 });
    await stores.mails.insert(mail);
    const claim = { states: ["incoming"], owner: "me", leaseMs: 5_000, without: [] } as const;
    const claimed = await stores.mails.claimSuspect({ ...claim, token: "t".repeat(32) });
    expect(claimed?.mail._id).toBe(mail._id);
  });

  it("what is stored for the first time by an upsert is stored", async () => {
    await stores.controls.pause("plan", "ann");
    expect(await stores.controls.paused()).toEqual(["plan"]);
    await stores.actors.report("dispatcher-1", "dispatcher", { held: 1 });
    expect(stores.set.majority("actors").get("dispatcher-1")?.snapshot).toEqual({ held: 1 });
  });
});
