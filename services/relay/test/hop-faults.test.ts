import { randomUUID } from "node:crypto";
import type { Route } from "@rs-agent/shared/mail/route.ts";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import { expect, it, vi } from "vitest";
import { mailIn, readyMail, routeTo, type ReadyMailOptions } from "./ready-mail.ts";
import { shortTimeouts } from "./relay-process.ts";
import { ownDatabase, runningRelay, runningSink } from "./running-relay.ts";
import { scriptedHop, type HopScript } from "./scripted-hop.ts";
import { machineMs } from "../../../test/support/machine.ts";

const to = ["one@rcpt.example", "two@rcpt.example", "three@rcpt.example"];

/** A mail to three recipients, a relay, and a hop that follows its script. */
async function toHop(
  script: HopScript,
  options: Omit<Partial<ReadyMailOptions>, "route"> = {},
  given: Partial<Route> = {},
) {
  const db = `relay-${randomUUID()}`;
  const database = await ownDatabase(db);
  const hop = await scriptedHop(script);
  const route = routeTo(hop.port, given);
  const id = await readyMail(database, { to, ...options, route });
  const { counts } = await runningRelay(db, shortTimeouts);
  const until = (state: MailRecord["state"]) => vi.waitFor(() => mailIn(database, id, state));
  const reports = async () => {
    const found = await database.mails.find({ from: "", limit: 10 });
    return found.filter(({ origin }) => origin.via === "dsn" && origin.name === id);
  };
  const asked = () => hop.lines.filter((line) => line.startsWith("RCPT")).map(addressIn);
  return { hop, counts, until, reports, asked };
}

function addressIn(line: string): string {
  return /<(.*)>/.exec(line)?.[1] ?? "";
}

function outcomesOf({ recipients }: MailRecord): string[] {
  return recipients.map(({ outcome, attempts }) => `${outcome} ${attempts}`);
}

it("I8: partial acceptance, then a drop after the dot: the refused recipient bounces, only the accepted ones are unknown", async () => {
  const { until, reports, counts, asked } = await toHop(
    {
      answer: (verb, nth) => {
        if (verb === "RCPT" && nth === 2) return { say: "550 5.1.1 no such user\r\n" };
        return verb === "." && nth === 1 ? { say: "", hangUp: true } : undefined;
      },
    },
    { relay: { retryMs: [100] } },
  );
  const waiting = await vi.waitFor(async () => {
    const mail = await until("relaying");
    expect(mail.unknown?.resolveAt).toBeDefined();
    return mail;
  });
  expect(outcomesOf(waiting)).toEqual(["open 1", "bounced 1", "open 1"]);
  expect(waiting.unknown?.recipients).toEqual([to[0], to[2]]);
  expect(await reports()).toHaveLength(1);
  const done = await until("bounced");
  expect(outcomesOf(done)).toEqual(["sent 2", "bounced 1", "sent 2"]);
  expect(asked()).toEqual([...to, to[0], to[2]]);
  expect(await reports()).toHaveLength(1);
  expect(counts).toMatchObject({ unknown: 2, bounced: 1, sent: 2, resentMails: 1 });
});

it("I8: 421 in the middle is a known end: everyone not refused is tried again, nobody twice", async () => {
  const { until, asked, counts, hop } = await toHop(
    {
      extensions: [],
      answer: (verb, nth) => {
        if (verb !== "RCPT") return undefined;
        if (nth === 1) return { say: "550 5.1.1 no such user\r\n" };
        return nth === 3 ? { say: "421 4.3.2 shutting down\r\n", hangUp: true } : undefined;
      },
    },
    { relay: { retryMs: [100] } },
  );
  const done = await until("bounced");
  expect(outcomesOf(done)).toEqual(["bounced 1", "sent 2", "sent 2"]);
  expect(asked()).toEqual([...to, to[1], to[2]]);
  expect(hop.lines.filter((line) => line === ".")).toHaveLength(1);
  expect(counts).toMatchObject({ unknown: 0, resentMails: 0, deferred: 2, bounced: 1, sent: 2 });
});

it("I8: 421 to the final dot says that the mail was not taken: a plain retry, no duplicate", async () => {
  const { until, counts } = await toHop(
    {
      answer: (verb, nth) =>
        verb === "." && nth === 1
          ? { say: "421 4.3.2 shutting down\r\n", hangUp: true }
          : undefined,
    },
    { relay: { retryMs: [100] } },
  );
  const done = await until("sent");
  expect(outcomesOf(done)).toEqual(["sent 2", "sent 2", "sent 2"]);
  expect(done.history.map(({ event }) => event)).not.toContain("sent again");
  expect(counts).toMatchObject({ unknown: 0, resentMails: 0, deferred: 3, sent: 3 });
});

it("I8: an LMTP hop that hangs up between two recipients' replies leaves only the rest unknown", async () => {
  const { until, counts, asked } = await toHop(
    {
      answer: (verb, nth) =>
        verb === "." && nth === 1
          ? { say: "250 2.1.5 one\r\n550 5.2.1 disabled\r\n", hangUp: true }
          : undefined,
    },
    { relay: { onUnknown: "hold" } },
    { protocol: "lmtp" },
  );
  const held = await until("held");
  expect(outcomesOf(held)).toEqual(["sent 1", "bounced 1", "open 1"]);
  expect(held.unknown?.recipients).toEqual([to[2]]);
  expect(counts).toMatchObject({ sent: 1, bounced: 1, unknown: 1 });
  expect(asked()).toEqual(to);
});

it("a hop that takes its time at every step gets the mail once, though the lease is shorter", async () => {
  const db = `relay-${randomUUID()}`;
  const database = await ownDatabase(db);
  const slowly = async () => {
    await new Promise((resolve) => setTimeout(resolve, 900));
    return undefined;
  };
  const sink = await runningSink({ answer: slowly });
  const id = await readyMail(database, { to, route: routeTo(sink.port) });
  const { counts } = await runningRelay(db, { RELAY_LEASE_MS: machineMs(1_000) });
  // Another relay that would take it over immediately, were the lease not renewed.
  const other = await runningRelay(db, { RELAY_LEASE_MS: machineMs(1_000) });
  const done = await vi.waitFor(() => mailIn(database, id, "sent"));
  expect(outcomesOf(done)).toEqual(["sent 1", "sent 1", "sent 1"]);
  expect(done.timings?.relay?.workMs).toBeGreaterThan(2_000);
  expect(sink.delivered).toBe(1);
  expect([counts.sent + other.counts.sent, counts.unknown + other.counts.unknown]).toEqual([3, 0]);
});
