import { afterEach, beforeEach, describe, expect, inject, it, vi } from "vitest";
import {
  startMongoDbProxy,
  type MongoDbProxy,
} from "../../../test/support/mongodb-proxy/mongodb-proxy.ts";
import {
  anna,
  closeTestIngests,
  startTestIngest,
  stranger,
  type RunningIngest,
} from "./running-ingest.ts";
import { SmtpDialogue } from "./smtp-dialogue.ts";

const mail = "Subject: x\r\n\r\nHello\r\n";
const putOff = "451 4.3.0 cannot store mail now, try again later";

describe("while the database is away", () => {
  let proxy: MongoDbProxy;
  let running: RunningIngest;
  let client: SmtpDialogue;
  beforeEach(async () => {
    proxy = await startMongoDbProxy(inject("mongodbUri"));
    running = await startTestIngest({
      uri: proxy.uri,
      env: { INGEST_STORE_TIMEOUT_MS: "500" },
    });
    client = await SmtpDialogue.open(running.smtp);
  });
  afterEach(async () => {
    client.close();
    proxy.restore();
    await closeTestIngests();
    await proxy.close();
  });

  const isTakenAgain = () =>
    vi.waitFor(
      async () => {
        await client.say("RSET");
        const reply = await client.deliver(stranger, [anna], mail);
        expect(reply).toMatch(/^250 2\.0\.0 queued as /);
        await running.stored(reply);
      },
      { timeout: 20_000, interval: 100 },
    );

  it("answers 451 to a mail, and takes mail again once it is back (I1)", async () => {
    await client.begin(stranger, [anna]);
    proxy.cut();
    client.send(mail);
    expect(await client.say(".")).toBe(putOff);
    proxy.restore();
    await isTakenAgain();
  });

  it("answers 451 within the deadline when the database is silent", async () => {
    await client.begin(stranger, [anna]);
    proxy.silence();
    const begun = Date.now();
    client.send(mail);
    expect(await client.say(".")).toBe(putOff);
    expect(Date.now() - begun).toBeLessThan(3_000);
    proxy.restore();
    await isTakenAgain();
  });

  it("puts mail off at MAIL once it is known, so that none need be sent in vain", async () => {
    await client.begin(stranger, [anna]);
    proxy.cut();
    client.send(mail);
    await client.say(".");
    expect(await client.say(`MAIL FROM:<${stranger}>`)).toBe(putOff);
    proxy.restore();
    await isTakenAgain();
  });
});
