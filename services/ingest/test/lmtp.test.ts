import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import {
  anna,
  ben,
  closeTestIngests,
  startTestIngest,
  stranger,
  type RunningIngest,
} from "./running-ingest.ts";
import { SmtpDialogue } from "./smtp-dialogue.ts";

const mail = "Subject: x\r\n\r\nHello\r\n";

describe("LMTP (RFC 2033)", () => {
  let running: RunningIngest;
  let client: SmtpDialogue;
  beforeAll(async () => {
    running = await startTestIngest({ env: { MAX_MAIL_BYTES: "20000" } });
  });
  afterAll(closeTestIngests);
  beforeEach(async () => {
    client = await SmtpDialogue.open(running.lmtp, undefined, "LHLO");
  });
  afterEach(() => client.close());

  const text = async () => {
    const { code, lines } = await client.reply();
    return `${code} ${lines[0] ?? ""}`;
  };

  it("gives one reply for each accepted recipient, repeated ones too", async () => {
    expect(await client.begin(stranger, [anna, ben, anna])).toMatch(/^354 /);
    client.send(`${mail}.\r\n`);
    const replies = [await text(), await text(), await text()];
    expect(new Set(replies).size).toBe(1);
    const { mail: record, raw } = await running.stored(replies[0] ?? "");
    expect(record.recipients.map(({ address }) => address)).toEqual([anna, ben]);
    expect(record.origin.via).toBe("lmtp");
    expect(raw.toString()).toContain(" with LMTP id ");
    expect(await client.say("NOOP")).toMatch(/^250 /);
  });

  it("refuses for each accepted recipient", async () => {
    await client.begin(stranger, [anna, ben, ben]);
    client.send(`${"x".repeat(20_000)}\r\n.\r\n`);
    for (let count = 0; count < 3; count += 1) expect(await text()).toMatch(/^552 5\.3\.4 /);
    expect(await client.say("NOOP")).toMatch(/^250 /);
  });

  it("knows neither HELO nor EHLO", async () => {
    expect(await client.say("EHLO client.test")).toMatch(/^500 /);
  });

  it("is not an open relay either", async () => {
    expect(await client.deliver(anna, [stranger], mail)).toMatch(/^550 5\.7\.1 /);
  });
});
