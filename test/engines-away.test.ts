import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, inject, it, vi } from "vitest";
import { newMailId } from "@rs-agent/shared/ids.ts";
import type { BodyRef, MailRecord } from "@rs-agent/shared/mail/record.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import { explain } from "../cli/src/explain.ts";
import { formatStatus, readStatus } from "../cli/src/commands/status.ts";
import { people } from "../start/samples/samples.ts";
import { startClamd, type RunningClamd } from "@rs-agent/kit/engines/clamd.ts";
import { startSpamd, type RunningSpamd } from "@rs-agent/kit/engines/spamd.ts";
import { newMail } from "./support/new-mail.ts";
import { acceptedAll, textMail } from "./support/smtp-client.ts";
import { useWholeSystem } from "./support/use-system.ts";
import { type WholeSystem } from "./support/whole-system.ts";

/** How many of these mails wait for a check. */
async function waitingFor(database: Database, next: string): Promise<number> {
  const waiting = await database.mails.waiting();
  const found = waiting.find((one) => one.state === "processing" && one.next === next);
  return found?.count ?? 0;
}

/** What `rs-agent status` prints. */
async function statusOf({ database }: WholeSystem): Promise<string> {
  return formatStatus(await readStatus(database));
}

/** The default of dispatchers. */
const pollMs = 500;

const numbers = (count: number) => Array.from({ length: count }, (_, number) => number);

describe("with spamd stopped", () => {
  let dir: string;
  let spamd: RunningSpamd;
  const whole = useWholeSystem(async () => {
    dir = await mkdtemp(join(tmpdir(), "rs-agent-e2e-spamd-"));
    spamd = await startSpamd({ dir, children: 1 });
    return {
      spamd: spamd.address,
      policy: `
addresses:
  spam-only@northwind.example: { virus: off }
  no-spam-check@northwind.example: { spam: off }
`,
    };
  });
  afterAll(async () => {
    await spamd.stop();
    await rm(dir, { recursive: true, force: true });
  });

  async function insertAll(mails: readonly MailRecord[]): Promise<string[]> {
    await Promise.all(mails.map((mail) => whole().database.mails.insert(mail)));
    return mails.map(({ _id }) => _id);
  }

  /** A record as ingest leaves it. */
  async function incomingFor(recipient: string): Promise<MailRecord> {
    const { database } = whole();
    const body = await database.bodies.put(textMail("in bulk"));
    return incoming(body, recipient, database.clock.now());
  }

  const copies = (mail: MailRecord, count: number) =>
    numbers(count).map(() => ({ ...mail, _id: newMailId() }));

  /** Brings one mail to where it waits for spamd, and stores copies of it. */
  async function letWait(count: number): Promise<void> {
    const { database } = whole();
    const [id = ""] = await insertAll([await incomingFor("spam-only@northwind.example")]);
    const waiting = await vi.waitFor(async () => {
      const mail = await whole().record(id);
      expect(mail).toMatchObject({ state: "processing", next: "spam" });
      expect(mail.lease).toBeUndefined();
      return mail;
    });
    await insertAll(copies(waiting, count - 1));
    expect(await waitingFor(database, "spam")).toBe(count);
  }

  /** How often mail that waits for spamd was claimed, in total. */
  async function claimsForSpam(): Promise<number> {
    const [sum] = await whole()
      .db.collection("mails")
      .aggregate<{ claims: number }>([
        { $match: { next: "spam" } },
        { $group: { _id: null, claims: { $sum: "$claims" } } },
      ])
      .toArray();
    return sum?.claims ?? 0;
  }

  /** Hands in 50 mails without a spam check, and sees all of them sent. */
  async function fiftyAreSent(): Promise<void> {
    const ids = await insertAll(copies(await incomingFor("no-spam-check@northwind.example"), 50));
    const ended = await Promise.all(ids.map((id) => whole().ended(id)));
    expect(ended.flat().map(({ state }) => state)).toEqual(ids.map(() => "sent"));
    for (const { verdicts } of ended.flat()) {
      expect(Object.keys(verdicts)).toEqual(["virus"]);
      expect(verdicts.virus?.finding).toEqual({ kind: "clean" });
    }
  }

  it("mail without a spam check passes while 5,000 mails wait for spamd and are left alone", async () => {
    const { database } = whole();
    await spamd.stop();
    await letWait(5_000);
    const claimsBefore = await claimsForSpam();
    const begun = performance.now();
    await fiftyAreSent();
    expect(await waitingFor(database, "spam")).toBe(5_000);
    // Every 20th tick looks at a batch of the oldest, for policies whose patience is over.
    const claims = (await claimsForSpam()) - claimsBefore;
    const looks = (performance.now() - begun) / (20 * pollMs);
    expect(claims).toBeLessThanOrEqual(100 * (looks + 2));
    expect(await database.mails.countOutcomes()).toMatchObject({
      accepted: 5_050,
      sent: 50,
      open: 5_000,
      holds: true,
    });
    await vi.waitFor(async () => {
      expect(await statusOf(whole())).toMatch(/5000 mails wait for spam .* no worker is able/);
    });
  });
});

describe("with clamd stopped", () => {
  let dir: string;
  let clamd: RunningClamd;
  const whole = useWholeSystem(async () => {
    dir = await mkdtemp(join(tmpdir(), "rs-agent-e2e-clamd-"));
    clamd = await startClamd({ dir });
    return { clamd: clamd.address, spamd: inject("spamd") };
  });
  afterAll(async () => {
    await clamd.stop();
    await rm(dir, { recursive: true, force: true });
  });

  it("I2: mail waits and says for what; once clamd is back it flows, and none is unscanned", async () => {
    const { database, system } = whole();
    await clamd.stop();
    const mails = numbers(30).map((number) => ({ raw: textMail(`mail ${number}`) }));
    const ids = await acceptedAll(system.smtp, mails);
    await vi.waitFor(async () => expect(await waitingFor(database, "virus")).toBe(30));
    await vi.waitFor(async () => {
      const waiting = await Promise.all(ids.map((id) => whole().record(id)));
      for (const mail of waiting) expectToSayWhy(mail, database.clock.now());
      const status = await statusOf(whole());
      expect(status).toMatch(/30 mails wait for virus .* no worker is able/);
      expect(status).toMatch(/unable: 127\.0\.0\.1:\d+/);
    });
    expect(await whole().relayed()).toEqual([]);

    clamd = await startClamd({ dir, port: clamd.port });
    const ended = (await Promise.all(ids.map((id) => whole().ended(id)))).flat();
    for (const { state, body, verdicts } of ended) {
      expect(state).toBe("sent");
      expect(verdicts.virus).toMatchObject({ finding: { kind: "clean" }, sha256: body.sha256 });
      expect(verdicts.virus?.engine?.name).toBe("clamd");
    }
    expect(await whole().relayed()).toHaveLength(30);
    expect(await database.mails.countOutcomes()).toMatchObject({ sent: 30, open: 0, holds: true });
  });
});

function expectToSayWhy(mail: MailRecord, now: Date): void {
  expect(mail).toMatchObject({ state: "processing", next: "virus" });
  expect(mail.reason).toMatch(/^virus check waits, engine-away: ./);
  expect(explain(mail, [], now)).toMatch(
    /waits for virus, .*no virus verdict \(engine-away\) since/,
  );
}

function incoming(body: BodyRef, recipient: string, now: Date): MailRecord {
  return newMail({
    dueAt: now,
    smtp: {
      mailFrom: people.jonas,
      rcptTo: [recipient],
      client: { address: "192.0.2.7", name: "mx.partner.example", helo: "mx.partner.example" },
    },
    receivedAt: now,
    body,
    header: { from: people.jonas, fromDomain: "partner.example" },
  });
}
