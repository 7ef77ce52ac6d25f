import { randomUUID } from "node:crypto";
import { expect, test, vi } from "vitest";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import type { Moment } from "@rs-agent/kit/smtp/maildir-server.ts";
import { mailIn, readyMail, routeTo } from "../../services/relay/test/ready-mail.ts";
import { shortTimeouts } from "../../services/relay/test/relay-process.ts";
import { ownDatabase, runningRelay, runningSink } from "../../services/relay/test/running-relay.ts";
import { runCli } from "./run-cli.ts";
import { mongodbUri } from "../../test/support/test-mongodb.ts";

/** A relay, a hop that hangs up after the first mail's final dot, and the command line. */
async function installation() {
  const db = `cli-unknown-${randomUUID()}`;
  const database = await ownDatabase(db);
  let dropped = false;
  const sink = await runningSink({
    answer: ({ step, ...moment }: Moment) => {
      if (step === "recipient" && "address" in moment && moment.address.startsWith("later@")) {
        return dropped ? undefined : "450 4.2.1 try later";
      }
      if (step !== "mail" || dropped) return undefined;
      dropped = true;
      return "drop";
    },
  });
  const to = ["b@rcpt.example", "later@rcpt.example"];
  const relay = { onUnknown: "hold" as const, retryMs: [100] };
  const id = await readyMail(database, { route: routeTo(sink.port), to, relay });
  const { counts } = await runningRelay(db, shortTimeouts);
  await vi.waitFor(() => mailIn(database, id, "held"));
  const env = { MONGODB_URI: mongodbUri(), MONGODB_DB: db };
  const run = (...args: string[]) => runCli(["unknown", ...args], env);
  return { database, sink, id, counts, run };
}

function eventsOf({ history }: MailRecord): string[] {
  return history.map(({ event, by }) => (by === "tester" ? `${event} by ${by}` : event));
}

test("I8: a held mail is sent again if a person says so: same Message-ID, counted, with the person's name", async () => {
  const { database, sink, id, counts, run } = await installation();
  const { out } = await run("ls");
  expect(out).toContain(id);
  expect(out).toContain("a@sender.example → b@rcpt.example\n");
  expect(out).not.toContain("later@");
  await run("resend", id);
  const mail = await vi.waitFor(() => mailIn(database, id, "sent"));
  expect(mail.recipients.map(({ outcome }) => outcome)).toEqual(["sent", "sent"]);
  expect(mail).not.toHaveProperty("unknown");
  expect(eventsOf(mail)).toEqual(
    expect.arrayContaining(["to be sent again by tester", "sent again"]),
  );
  expect(counts).toMatchObject({ unknown: 1, resentMails: 1, sent: 2 });
  const [first, ...copies] = await sink.mails();
  expect(copies).toEqual([first]);
  expect(first?.toString()).toContain("Message-ID: <1@sender.example>");
});

test("I1: what a person found out is not sent again; a deferred recipient still gets the mail", async () => {
  const { database, sink, id, counts, run } = await installation();
  await run("settle", id, "--as", "sent", "--reply", "250 2.0.0 queued as 4XyZ");
  const mail = await vi.waitFor(() => mailIn(database, id, "sent"));
  expect(mail.recipients).toMatchObject([
    { outcome: "sent", attempts: 1, reply: "250 2.0.0 queued as 4XyZ" },
    { outcome: "sent", attempts: 2 },
  ]);
  expect(counts).toMatchObject({ unknown: 1, resentMails: 0, sent: 1 });
  expect(sink.delivered).toBe(2);
  expect((await run("ls")).out).toBe("none\n");
});
