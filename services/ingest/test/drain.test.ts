import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  anna,
  closeTestIngests,
  startTestIngest,
  stranger,
  type RunningIngest,
} from "./running-ingest.ts";
import { SmtpDialogue } from "./smtp-dialogue.ts";

const mail = "Subject: x\r\n\r\nHello\r\n";

describe("draining", () => {
  let running: RunningIngest;
  beforeEach(async () => {
    running = await startTestIngest();
  });
  afterEach(closeTestIngests);

  it("finishes the mail that is in DATA, and says 421 to all others", async () => {
    const idle = await SmtpDialogue.open(running.smtp);
    const halfway = await SmtpDialogue.open(running.smtp);
    await halfway.say(`MAIL FROM:<${stranger}>`);
    const sending = await SmtpDialogue.open(running.smtp);
    await sending.begin(stranger, [anna]);
    sending.send(mail);
    const drained = running.ingest.drain();
    for (const other of [idle, halfway]) {
      expect(await other.reply()).toEqual({
        code: 421,
        lines: ["4.3.2 going down, try again in a moment"],
      });
      other.close();
    }
    await expect(SmtpDialogue.connect(running.smtp)).rejects.toMatchObject({
      code: "ECONNREFUSED",
    });
    expect(await sending.say(".")).toMatch(/^250 2\.0\.0 queued as /);
    expect(await sending.reply()).toMatchObject({ code: 421 });
    sending.close();
    await drained;
    await running.ingest.done;
  });

  it("is cut short by its signal", async () => {
    const sending = await SmtpDialogue.open(running.smtp);
    await sending.begin(stranger, [anna]);
    const limit = new AbortController();
    const drained = running.ingest.drain(limit.signal);
    limit.abort();
    await drained;
    await sending.closed();
  });

  it("closes the database behind it", async () => {
    await running.ingest.drain();
    await expect(running.database.ping()).rejects.toThrow();
  });
});

describe("starting", () => {
  afterEach(closeTestIngests);

  it("names the listener that cannot be opened, and leaves none open", async () => {
    const taken = await startTestIngest();
    const env = { INGEST_LMTP: taken.lmtp };
    await expect(startTestIngest({ env })).rejects.toMatchObject({ code: "INGEST_LISTEN" });
  });
});
