import { generateKeyPairSync, randomUUID } from "node:crypto";
import { dkimSign } from "mailauth/lib/dkim/sign.js";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import type { Plan } from "@rs-agent/shared/mail/plan.ts";
import { merged } from "@rs-agent/shared/life/change.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import { retryNow } from "../../../cli/src/retry-now.ts";
import {
  startNameServer,
  type NameServerOptions,
  type Records,
} from "@rs-agent/kit/name-server.ts";
import type { MaildirServerOptions } from "@rs-agent/kit/smtp/maildir-server.ts";
import { mailIn, rawMail, readyMail, routeTo, type ReadyMailOptions } from "./ready-mail.ts";
import { ownDatabase, runningRelay, runningSink } from "./running-relay.ts";

/** The recorded client of strangers' mail in these tests. */
const client = { address: "192.0.2.7", name: "", helo: "mx.sender.example" };
const day = 86_400_000;

const spf = (record: string): Records => ({ "TXT sender.example": [record] });
const passes = spf("v=spf1 ip4:192.0.2.7 -all");
type AnswerTo = NonNullable<MaildirServerOptions["answer"]>;
const isAtRecipient: AnswerTo = ({ step }) =>
  step === "recipient" ? "550 5.1.1 no such user" : undefined;

interface Installation {
  records?: Records;
  trouble?: NameServerOptions["trouble"];
  answer?: AnswerTo;
}

/** A relay, its hop, and the name server that it asks. */
async function installation({ records = {}, trouble, answer = isAtRecipient }: Installation = {}) {
  const db = `relay-${randomUUID()}`;
  const database = await ownDatabase(db);
  const dns = await startNameServer(records, trouble && { trouble });
  onTestFinished(() => dns.close());
  const sink = await runningSink({ answer });
  const route = routeTo(sink.port);
  const settings = { DNS_SERVERS: dns.address, DNS_TIMEOUT_MS: "100" };
  return { database, dns, route, sink, relay: () => runningRelay(db, settings) };
}

/** A mail that strangers handed in. */
function incoming(
  database: Database,
  options: Omit<ReadyMailOptions, "plan"> & { plan?: Partial<Plan> },
  raw = rawMail,
): Promise<string> {
  const { from = "a@sender.example", to = ["b@rcpt.example"], plan, record } = options;
  const smtp = { mailFrom: from, rcptTo: to, client };
  const all = { ...options, plan: { direction: "incoming" as const, ...plan } };
  return readyMail(database, { ...all, record: { smtp, ...record } }, raw);
}

async function reportsIn(database: Database) {
  const found = await database.mails.find({ from: "", limit: 100 });
  return found.filter(({ origin }) => origin.via === "dsn");
}

describe("I12: the sender of incoming mail that the hop refuses", () => {
  it("is told if SPF passes for the sender and the recorded client", async () => {
    const { database, route, relay } = await installation({ records: passes });
    const id = await incoming(database, { route });
    const { counts } = await relay();
    const mail = await vi.waitFor(() => mailIn(database, id, "bounced"));
    expect(mail.recipients[0]).toMatchObject({ outcome: "bounced", status: "5.1.1" });
    expect(mail.recipients[0]).not.toHaveProperty("report");
    const [report, ...more] = await reportsIn(database);
    expect(more).toEqual([]);
    expect(report?.smtp.rcptTo).toEqual(["a@sender.example"]);
    expect(report?.history[0]?.detail).toBe(`on mail ${id}: SPF pass for sender.example`);
    expect(counts.unreported).toEqual({ unverified: 0, dns: 0 });
  });

  it("is told if the stored mail has an aligned signature that holds", async () => {
    const { privateKey, publicKey } = generateKeyPairSync("rsa", {
      modulusLength: 2048,
      privateKeyEncoding: { type: "pkcs8", format: "pem" },
      publicKeyEncoding: { type: "spki", format: "der" },
    });
    const key = { signingDomain: "sender.example", selector: "s1", privateKey };
    const { signatures } = await dkimSign(rawMail, { ...key, signatureData: [key] });
    const record = `v=DKIM1; k=rsa; p=${publicKey.toString("base64")}`;
    const records = { "TXT s1._domainkey.sender.example": [record] };
    const { database, route, relay } = await installation({ records });
    await incoming(database, { route }, Buffer.concat([Buffer.from(signatures), rawMail]));
    await relay();
    const [report] = await vi.waitFor(async () => {
      const reports = await reportsIn(database);
      expect(reports).toHaveLength(1);
      return reports;
    });
    expect(report?.history[0]?.detail).toContain("DKIM pass for sender.example");
  });

  it("is not told if it may be forged: bounced, `report: none`, kept for 30 days and found", async () => {
    const records = spf("v=spf1 ip4:198.51.100.0/24 -all");
    const { database, route, relay } = await installation({ records });
    const id = await incoming(database, { route });
    const { counts } = await relay();
    const mail = await vi.waitFor(() => mailIn(database, id, "bounced"));
    expect(mail.recipients[0]).toMatchObject({
      outcome: "bounced",
      status: "5.1.1",
      report: "none",
    });
    expect(mail.reason).toMatch(
      /^no report, SPF fail for sender\.example, no aligned .*550 5\.1\.1/,
    );
    expect(mail.history.map(({ event }) => event)).toContain("not reported");
    // The policy of these mails keeps bounced mail for a minute.
    const keptMs = Number(mail.expireAt) - Number(mail.finalAt);
    expect(keptMs).toBe(30 * day);
    expect(await reportsIn(database)).toEqual([]);
    expect(counts).toMatchObject({ bounced: 1, unreported: { unverified: 1, dns: 0 } });
    const found = await database.mails.find({ unreported: true, limit: 10 });
    expect(found.map(({ _id }) => _id)).toEqual([id]);
  });

  it("keeps it longer if the policy says so", async () => {
    const { database, route, relay } = await installation();
    const plan = { retentionMs: { bounced: 90 * day } };
    const id = await incoming(database, { route, plan });
    await relay();
    const mail = await vi.waitFor(() => mailIn(database, id, "bounced"));
    expect(Number(mail.expireAt) - Number(mail.finalAt)).toBe(90 * day);
  });

  it("is not told if no name server answers; the relay does not wait forever", async () => {
    const { database, dns, route, relay } = await installation({ trouble: () => "silent" });
    const id = await incoming(database, { route });
    const { counts } = await relay();
    const mail = await vi.waitFor(() => mailIn(database, id, "bounced"));
    expect(mail.recipients[0]).toMatchObject({ report: "none" });
    expect(mail.reason).toContain("SPF temperror");
    expect(counts.unreported).toEqual({ unverified: 0, dns: 1 });
    expect(dns.asked.length).toBeGreaterThan(1);
  });

  it("is asked for once, when a recipient has failed, and not for mail that goes through", async () => {
    const answer: AnswerTo = (moment) =>
      moment.step === "recipient" && moment.address.startsWith("gone")
        ? "550 5.1.1 no such user"
        : undefined;
    const { database, dns, route, relay } = await installation({ records: passes, answer });
    const sent = await incoming(database, { route });
    await relay();
    await vi.waitFor(() => mailIn(database, sent, "sent"));
    expect(dns.asked).toEqual([]);
    const to = ["b@rcpt.example", "gone.1@rcpt.example", "gone.2@rcpt.example"];
    const id = await incoming(database, { route, to });
    const mail = await vi.waitFor(() => mailIn(database, id, "bounced"));
    expect(mail.recipients.map(({ outcome }) => outcome)).toEqual(["sent", "bounced", "bounced"]);
    expect(dns.asked).toEqual(["TXT sender.example"]);
    expect(await reportsIn(database)).toHaveLength(1);
  });

  it("was not told, and a person tries the mail again: the hop takes it now", async () => {
    let isThere = false;
    const answer: AnswerTo = ({ step }) =>
      step === "recipient" && !isThere ? "550 5.1.1 no such user" : undefined;
    const { database, route, sink, relay } = await installation({ answer });
    const id = await incoming(database, { route });
    await relay();
    const mail = await vi.waitFor(() => mailIn(database, id, "bounced"));
    isThere = true;
    const { states, change } = retryNow(mail, { by: "ann", now: new Date() });
    // No dispatcher runs here: it would make the mail ready again.
    const ready = merged(change, { set: { state: "ready", next: route.key } });
    await database.mails.writeAs(id, { states, unleased: true, seen: mail }, ready);
    const again = await vi.waitFor(() => mailIn(database, id, "sent"));
    expect(sink.delivered).toBe(1);
    expect(again.recipients[0]).not.toHaveProperty("report");
    expect(await database.mails.find({ unreported: true, limit: 10 })).toEqual([]);
  });

  it("and was the null sender: a dead letter as ever, nobody is asked", async () => {
    const { database, dns, route, relay } = await installation();
    const id = await incoming(database, { route, from: "" });
    await relay();
    await vi.waitFor(() => mailIn(database, id, "dead"));
    expect(dns.asked).toEqual([]);
  });
});

describe("I12: incoming mail of which only the time in the queue is over", () => {
  const later: AnswerTo = ({ step }) => (step === "sender" ? "451 4.3.2 not now" : undefined);
  const short = { maxQueueMs: 300, retryMs: [100] };

  it.each(["a@sender.example", ""])("is held for a person, from <%s>", async (from) => {
    const { database, dns, route, relay } = await installation({ answer: later });
    const id = await incoming(database, { route, from, relay: short });
    const { counts } = await relay();
    const mail = await vi.waitFor(() => mailIn(database, id, "held"));
    expect(mail.reason).toBe("its time in the queue is over: b@rcpt.example: 451 4.3.2 not now");
    expect(mail.recipients[0]).toMatchObject({ outcome: "open", reply: "451 4.3.2 not now" });
    for (const field of ["next", "dueAt", "lease", "unknown", "expireAt"] as const) {
      expect(mail[field]).toBeUndefined();
    }
    expect(counts).toMatchObject({ held: 1, bounced: 0, dead: 0 });
    expect(await reportsIn(database)).toEqual([]);
    expect(dns.asked).toEqual([]);
  });

  it("is also held if the hop cannot be reached at all", async () => {
    const { database, sink, route, relay } = await installation();
    await sink.stop();
    const id = await incoming(database, { route, relay: short });
    await relay();
    const mail = await vi.waitFor(() => mailIn(database, id, "held"));
    expect(mail.reason).toContain("ECONNREFUSED");
  });

  it("gets new time when a person tries it again", async () => {
    let isBusy = true;
    const answer: AnswerTo = (moment) => (isBusy ? later(moment) : undefined);
    const { database, route, sink, relay } = await installation({ answer });
    const hour = day / 24;
    const record = { receivedAt: new Date(Date.now() - 2 * hour) };
    const id = await incoming(database, { route, relay: { ...short, maxQueueMs: hour }, record });
    await relay();
    const mail = await vi.waitFor(() => mailIn(database, id, "held"));
    const { states, change } = retryNow(mail, { by: "ann", now: database.clock.now() });
    const ready = merged(change, { set: { state: "ready", next: route.key } });
    await database.mails.writeAs(id, { states, unleased: true, seen: mail }, ready);
    // Tried, and not held immediately although it came in long ago.
    await vi.waitFor(async () => {
      expect((await database.mails.get(id))?.recipients[0]?.attempts).toBeGreaterThan(3);
    });
    isBusy = false;
    await vi.waitFor(() => mailIn(database, id, "sent"));
    expect(sink.delivered).toBe(1);
  });

  it("is held for these recipients, while others have failed for good", async () => {
    const answer: AnswerTo = (moment) => {
      if (moment.step !== "recipient") return undefined;
      return moment.address.startsWith("gone") ? "550 5.1.1 no such user" : "451 4.2.1 busy";
    };
    const { database, route, relay } = await installation({ answer });
    const to = ["b@rcpt.example", "gone@rcpt.example"];
    const id = await incoming(database, { route, to, relay: short });
    await relay();
    const mail = await vi.waitFor(() => mailIn(database, id, "held"));
    expect(mail.recipients).toMatchObject([
      { outcome: "open", status: "4.2.1" },
      { outcome: "bounced", report: "none" },
    ]);
  });
});
