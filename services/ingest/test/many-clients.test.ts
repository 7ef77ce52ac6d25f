import { afterEach, describe, expect, it } from "vitest";
import { closeTestIngests, anna, startTestIngest, stranger } from "./running-ingest.ts";
import { SmtpDialogue } from "./smtp-dialogue.ts";

const mail = "Subject: x\r\n\r\nHello\r\n";

describe("many clients", () => {
  afterEach(closeTestIngests);

  it("deliver over 300 connections at once, each mail stored once (I1)", async () => {
    const running = await startTestIngest();
    const clients = await Promise.all(
      Array.from({ length: 300 }, () => SmtpDialogue.open(running.smtp)),
    );
    const replies = await Promise.all(
      clients.map((client) => client.deliver(stranger, [anna], mail)),
    );
    expect(new Set(replies).size).toBe(300);
    expect(replies.every((reply) => reply.startsWith("250 2.0.0 queued as "))).toBe(true);
    expect(await running.database.mails.countOutcomes()).toMatchObject({
      accepted: 300,
      open: 300,
      holds: true,
    });
    for (const client of clients) client.close();
  });

  it("do not wait for those that stall in the middle of their mail", async () => {
    const running = await startTestIngest();
    const still = await Promise.all(
      Array.from({ length: 50 }, () => SmtpDialogue.open(running.smtp)),
    );
    await Promise.all(still.map((client) => client.begin(stranger, [anna])));
    for (const client of still) client.send("Subject: never");
    const good = await SmtpDialogue.open(running.smtp);
    expect(await good.deliver(stranger, [anna], mail)).toMatch(/^250 2\.0\.0 /);
    for (const client of [...still, good]) client.close();
  });
});
