import { randomUUID } from "node:crypto";
import { describe, expect, it, vi } from "vitest";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import type { Moment } from "@rs-agent/kit/smtp/maildir-server.ts";
import type { Answer } from "@rs-agent/kit/smtp/smtp-sink.ts";
import { leftOver, resultsOf, type Transcript } from "../src/transcript.ts";
import { mailIn, readyMail, routeTo } from "./ready-mail.ts";
import { shortTimeouts } from "./relay-process.ts";
import { ownDatabase, runningRelay, runningSink } from "./running-relay.ts";
import { scriptedHop } from "./scripted-hop.ts";

/** Retries that come only after the test is over, so that nothing is left to them. */
const hours = { retryMs: [3 * 3_600_000], maxQueueMs: 24 * 3_600_000 };

async function installation(settings: Record<string, string> = {}) {
  const db = `relay-${randomUUID()}`;
  return { database: await ownDatabase(db), start: () => runningRelay(db, settings) };
}

function addresses(count: number): string[] {
  return Array.from({ length: count }, (_, at) => `r${at}@rcpt.example`);
}

/** Takes this many recipients per transaction, and records whom each mail was for. */
function roomFor(limit: number, refusal: Answer, onSender?: (nth: number) => Promise<Answer>) {
  const transactions: string[][] = [];
  const answer = (moment: Moment) => {
    if (moment.step === "sender") {
      transactions.push([]);
      return onSender?.(transactions.length);
    }
    if (moment.step !== "recipient") return undefined;
    const taken = transactions.at(-1) ?? [];
    if (taken.length >= limit) return refusal;
    taken.push(moment.address);
    return undefined;
  };
  return { answer, transactions };
}

describe("a hop with room for 50 recipients in each transaction", () => {
  const cases = [
    ["452 4.5.3 too many recipients", "smtp"],
    ["552 5.5.3 too many recipients", "smtp"],
    ["552 too many recipients", "smtp"],
    ["550 5.5.3 too many recipients", "smtp"],
    ["452 4.5.3 too many recipients", "lmtp"],
    ["552 5.5.3 too many recipients", "lmtp"],
  ] as const;
  for (const [refusal, protocol] of cases) {
    it(`gets the others immediately (${protocol}, ${refusal}): each recipient once, no bounce`, async () => {
      const { database, start } = await installation();
      const { answer, transactions } = roomFor(50, refusal);
      const sink = await runningSink({ answer, lmtp: protocol === "lmtp" });
      const to = addresses(130);
      const route = routeTo(sink.port, { protocol });
      const id = await readyMail(database, { route, to, relay: hours });
      const { counts } = await start();
      const mail = await vi.waitFor(() => mailIn(database, id, "sent"));
      expect(transactions.map((taken) => taken.length)).toEqual([50, 50, 30]);
      expect(transactions.flat()).toEqual(to);
      expect(sink).toMatchObject({ sessions: 1, delivered: 3 });
      for (const { outcome, attempts, status } of mail.recipients) {
        expect({ outcome, attempts, status }).toEqual({
          outcome: "sent",
          attempts: 1,
          status: "2.0.0",
        });
      }
      expect(mail.unknown).toBeUndefined();
      expect(counts).toMatchObject({
        sent: 130,
        deferred: 0,
        bounced: 0,
        unknown: 0,
        resentMails: 0,
      });
    });
  }

  it("I8: before each transaction the record says who has the mail, and the mark who may get it now", async () => {
    const { database, start } = await installation();
    const to = addresses(130);
    const seen: { sent: string[]; marked: string[] }[] = [];
    const look = async () => {
      const { recipients, unknown } = (await database.mails.get(id)) as MailRecord;
      const sent = recipients.filter(({ outcome }) => outcome === "sent");
      seen.push({ sent: sent.map(({ address }) => address), marked: unknown?.recipients ?? [] });
      return undefined;
    };
    const { answer } = roomFor(50, "452 4.5.3 too many recipients", look);
    const sink = await runningSink({ answer });
    const id = await readyMail(database, { route: routeTo(sink.port), to, relay: hours });
    await start();
    await vi.waitFor(() => mailIn(database, id, "sent"));
    expect(seen).toEqual([
      { sent: [], marked: to },
      { sent: to.slice(0, 50), marked: to.slice(50) },
      { sent: to.slice(0, 100), marked: to.slice(100) },
    ]);
  });

  it("I8: if the second transaction's outcome is unknown, nothing is sent to the first one's recipients again", async () => {
    const { database, start } = await installation(shortTimeouts);
    const to = addresses(4);
    const hop = await scriptedHop({
      answer: (verb, nth) => {
        if (verb === "RCPT" && nth === 1) return { say: "550 5.1.1 no\r\n" };
        if (verb === "RCPT" && (nth === 3 || nth === 4)) return { say: "452 4.5.3 too many\r\n" };
        return verb === "." && nth === 2 ? { say: "", hangUp: true } : undefined;
      },
    });
    const id = await readyMail(database, {
      route: routeTo(hop.port),
      to,
      relay: { ...hours, onUnknown: "hold" },
    });
    await start();
    const mail = await vi.waitFor(() => mailIn(database, id, "held"));
    expect(mail.unknown?.recipients).toEqual(to.slice(2));
    expect(mail.recipients.map(({ outcome }) => outcome)).toEqual([
      "bounced",
      "sent",
      "open",
      "open",
    ]);
  });

  it("goes on in another session if the hop ends the first one after a mail", async () => {
    const { database, start } = await installation();
    const to = addresses(5);
    const hop = await scriptedHop({
      extensions: [],
      answer: (verb, nth) => {
        if (verb === "RCPT" && (nth === 3 || nth > 6)) return { say: "452 4.5.3 too many\r\n" };
        if (verb === "RCPT" && nth > 3 && nth < 6) return { say: "552 5.5.3 too many\r\n" };
        return verb === "MAIL" && nth === 2
          ? { say: "421 4.7.0 one mail each\r\n", hangUp: true }
          : undefined;
      },
    });
    const id = await readyMail(database, { route: routeTo(hop.port), to, relay: hours });
    await start();
    await vi.waitFor(() => expect(hop.lines.filter((line) => line === ".")).toHaveLength(2));
    expect(hop.lines.filter((line) => line.startsWith("EHLO")).length).toBeGreaterThan(1);
    const mail = await vi.waitFor(() => mailIn(database, id, "ready"));
    expect(mail.recipients.map(({ outcome }) => outcome)).toEqual([
      "sent",
      "sent",
      "sent",
      "open",
      "open",
    ]);
    expect(mail.recipients.map(({ attempts }) => attempts)).toEqual([1, 1, 1, 1, 1]);
  });
});

describe("who is offered again immediately", () => {
  const mail = "250 2.1.0 ok";
  const ok = "250 2.1.5 ok";
  const full = "452 4.5.3 too many";

  function offeredAgain(rcpt: string[], end: string[], lost?: string) {
    const transcript: Transcript = {
      replies: [mail, ...rcpt, ...end],
      bodyBegun: end[0]?.startsWith("354") === true,
      bodyEnded: end[0]?.startsWith("354") === true,
      lost,
    };
    const results = resultsOf(transcript, rcpt.length, "smtp");
    return { again: leftOver(transcript, results), kinds: results.map(({ kind }) => kind) };
  }
  const taken = ["354 go on", "250 2.0.0 ok"];

  it("those for whom there was no room after the first that was taken", () => {
    expect(offeredAgain([full, ok, full, "552 no more", "550 5.1.1 no"], taken).again).toEqual([
      2, 3,
    ]);
  });

  it("even if the mail was refused for good for those who were taken", () => {
    expect(offeredAgain([ok, full], ["354 go on", "554 5.7.1 spam"]).again).toEqual([1]);
    expect(offeredAgain([ok, full], ["554 5.7.1 no"]).again).toEqual([1]);
  });

  it("nobody if nobody was taken, the mail is put off, or its outcome is unknown", () => {
    expect(offeredAgain([full, full], ["503 5.5.1 no recipients"]).again).toEqual([]);
    expect(offeredAgain([ok, full], ["354 go on", "451 4.7.1 later"]).again).toEqual([]);
    expect(offeredAgain([ok, full], ["354 go on"], "connection reset").again).toEqual([]);
  });

  it("nobody whose own mailbox is full, or who must be tried later", () => {
    const later = ["452 4.2.2 over quota", "450 4.2.0 greylisted", "451 4.3.0 error"];
    expect(offeredAgain([ok, ...later], taken).again).toEqual([]);
  });

  it("552 is temporary at RCPT, whatever it says, but not at DATA and after the mail", () => {
    for (const reply of ["552 no", "552 5.2.2 over quota", "552 5.5.3 too many"]) {
      expect(offeredAgain([reply], ["503 5.5.1 no recipients"]).kinds).toEqual(["deferred"]);
    }
    expect(offeredAgain([ok], ["552 5.3.4 too large"]).kinds).toEqual(["refused"]);
    expect(offeredAgain([ok], ["354 go on", "552 5.3.4 too large"]).kinds).toEqual(["refused"]);
  });

  it("what 552 says is reported as temporary", () => {
    const transcript = {
      replies: [mail, "552 5.2.2 over quota"],
      bodyBegun: false,
      bodyEnded: false,
    };
    expect(resultsOf({ ...transcript, lost: undefined }, 1, "smtp")).toEqual([
      { kind: "deferred", status: "4.2.2", reply: "552 5.2.2 over quota" },
    ]);
  });
});
