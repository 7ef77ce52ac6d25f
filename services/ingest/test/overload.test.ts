import { afterEach, describe, expect, it, vi } from "vitest";
import { systemClock } from "@rs-agent/shared/clock.ts";
import { newMailId } from "@rs-agent/shared/ids.ts";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import type { Backlog } from "@rs-agent/shared/store/mails.ts";
import { isOverloaded, watchOverload } from "../src/overload.ts";
import { recordLog } from "./recorded-log.ts";
import {
  anna,
  closeTestIngests,
  startTestIngest,
  stranger,
  type RunningIngest,
} from "./running-ingest.ts";
import { SmtpDialogue } from "./smtp-dialogue.ts";

const mail = "Subject: x\r\n\r\nHello\r\n";
const putOff = "452 4.3.1 too much mail waits already, try again later";

describe("the rule", () => {
  const limits = { maxWaiting: 1_000, maxWaitingAgeMs: 60_000 };
  it.each<[string, boolean, { waiting: number; oldestMs: number }, boolean]>([
    ["begins above the count", false, { waiting: 1_001, oldestMs: 0 }, true],
    ["does not begin at the count", false, { waiting: 1_000, oldestMs: 60_000 }, false],
    ["begins above the age", false, { waiting: 1, oldestMs: 60_001 }, true],
    ["goes on just below the count", true, { waiting: 999, oldestMs: 0 }, true],
    ["goes on just below the age", true, { waiting: 0, oldestMs: 59_999 }, true],
    ["ends at nine tenths of both", true, { waiting: 900, oldestMs: 54_000 }, false],
    ["goes on if one of them is above nine tenths", true, { waiting: 900, oldestMs: 54_001 }, true],
  ])("%s", (_, before, seen, expected) => {
    expect(isOverloaded(before, seen, limits)).toBe(expected);
  });
});

describe("a look at the backlog", () => {
  const watched = (backlog: () => Promise<Backlog>) =>
    watchOverload({
      database: { mails: { backlog }, clock: systemClock },
      maxWaiting: 1,
      maxWaitingAgeMs: 1_000,
      refreshMs: 1,
      log: createSilentLogger(),
    });

  it("that is never answered keeps nobody waiting, and no second look begins", async () => {
    const backlog = vi.fn(() => new Promise<Backlog>(() => undefined));
    const watch = watched(backlog);
    await vi.waitFor(() => expect(backlog).toHaveBeenCalled());
    for (let turns = 0; turns < 20; turns += 1) await new Promise(setImmediate);
    expect(backlog).toHaveBeenCalledTimes(1);
    expect(watch.isOver).toBe(false);
    watch.close();
  });

  it("that fails leaves what was known, and is made again", async () => {
    const answers = [
      () => Promise.resolve({ count: 5, untakenSince: undefined }),
      () => Promise.reject(new Error("away")),
      () => Promise.reject(new Error("away")),
    ];
    let asked = 0;
    let gate = Promise.withResolvers<undefined>();
    const watch = watched(async () => {
      asked += 1;
      const answer = answers.shift();
      if (answer !== undefined) return answer();
      await gate.promise;
      return { count: 0, untakenSince: undefined };
    });
    await vi.waitFor(() => expect(asked).toBe(4));
    expect(watch.isOver).toBe(true);
    gate.resolve(undefined);
    await vi.waitFor(() => expect(watch.isOver).toBe(false));
    gate = Promise.withResolvers();
    watch.close();
  });
});

describe("while too much mail waits", () => {
  afterEach(closeTestIngests);

  const untaken = async (running: RunningIngest, count: number, more: Partial<MailRecord> = {}) => {
    const template = await running.stored(await deliver(running));
    const copies = Array.from({ length: count }, () => ({ ...template.mail, ...more }));
    await Promise.all(
      copies.map((copy) => running.database.mails.insert({ ...copy, _id: newMailId() })),
    );
  };
  const deliver = async (running: RunningIngest) => {
    const client = await SmtpDialogue.open(running.smtp);
    const reply = await client.deliver(stranger, [anna], mail);
    client.close();
    return reply;
  };
  /** Claims and ends everything, like a dispatcher. */
  const takeAll = async ({ database }: RunningIngest) => {
    const claim = { states: ["incoming"] as const, next: "plan", owner: "me", leaseMs: 60_000 };
    const claimed = await database.mails.claim({ ...claim, limit: 1_000 });
    for (const { holding } of claimed) {
      await database.mails.write(holding, {
        set: { state: "discarded" },
        unset: ["next", "dueAt"],
        releaseLease: true,
      });
    }
  };
  const untilReply = (running: RunningIngest, reply: RegExp) =>
    vi.waitFor(async () => expect(await deliver(running)).toMatch(reply));

  it("new mail gets 452, mail that has begun is taken, and it ends by itself (I7)", async () => {
    const { log, lines } = recordLog();
    const running = await startTestIngest({
      log,
      env: { INGEST_MAX_WAITING: "20", INGEST_WAITING_REFRESH_MS: "20" },
    });
    const begun = await SmtpDialogue.open(running.smtp);
    await begun.begin(stranger, [anna]);
    await untaken(running, 40);
    await untilReply(running, /^452 /);
    expect(await deliver(running)).toBe(putOff);
    begun.send(mail);
    await running.stored(await begun.say("."));
    expect(await begun.say(`MAIL FROM:<${stranger}>`)).toBe(putOff);
    await takeAll(running);
    await untilReply(running, /^250 2\.0\.0 /);
    begun.close();
    const said = (text: string) => lines().filter(({ msg }) => msg === text);
    expect(said("overload, new mail is put off")).toEqual([
      expect.objectContaining({ level: 40, maxWaiting: 20, maxWaitingAgeMs: 900_000 }),
    ]);
    expect(said("the overload is over, mail is taken again")).toHaveLength(1);
    expect(said("refused")[0]).toMatchObject({ reply: 452, status: "4.3.1" });
  });

  it("because nobody takes it on, the age of the oldest is enough", async () => {
    const running = await startTestIngest({
      env: { INGEST_MAX_WAITING_AGE_MS: "60000", INGEST_WAITING_REFRESH_MS: "20" },
    });
    await untaken(running, 1, { dueAt: new Date(Date.now() - 120_000) });
    await untilReply(running, /^452 /);
    const report = await vi.waitFor(async () => {
      const [actor] = await running.database.actors.all();
      expect(actor?.snapshot["overload"]).toMatchObject({ since: expect.any(Date) as Date });
      return actor;
    });
    expect(report?.snapshot["overload"]).toMatchObject({ oldestMs: expect.any(Number) as number });
    await takeAll(running);
    await untilReply(running, /^250 /);
  });

  it("for a check, however long, its age does not count: a scanner that is away means wait", async () => {
    const running = await startTestIngest({
      env: { INGEST_MAX_WAITING_AGE_MS: "60000", INGEST_WAITING_REFRESH_MS: "20" },
    });
    const dueAt = new Date(Date.now() - 3_600_000);
    const backlog = vi.spyOn(running.database.mails, "backlog");
    await untaken(running, 3, { state: "processing", next: "virus", dueAt });
    const looks = backlog.mock.calls.length;
    await vi.waitFor(async () => {
      expect(await deliver(running)).toMatch(/^250 /);
      expect(backlog.mock.calls.length).toBeGreaterThan(looks + 2);
    });
  });

  it("is looked at while mail comes, and not where none does", async () => {
    const running = await startTestIngest({ env: { INGEST_WAITING_REFRESH_MS: "20" } });
    const backlog = vi.spyOn(running.database.mails, "backlog");
    const version = vi.spyOn(running.database.policies, "version");
    /** By the clock of another timer, that of the policies. */
    const aWhile = () => {
      const before = version.mock.calls.length;
      return vi.waitFor(() => expect(version.mock.calls.length).toBeGreaterThan(before + 2));
    };
    await aWhile();
    const looks = backlog.mock.calls.length;
    await aWhile();
    expect(backlog.mock.calls.length).toBe(looks);
    await deliver(running);
    await vi.waitFor(() => expect(backlog.mock.calls.length).toBeGreaterThan(looks));
  });
});
