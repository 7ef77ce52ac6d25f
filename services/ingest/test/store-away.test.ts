import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Fault } from "../../../test/support/mongodb-proxy/fault.ts";
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
import { mongodbUri } from "../../../test/support/test-mongodb.ts";

const mail = "Subject: x\r\n\r\nHello\r\n";
const putOff = "451 4.3.0 cannot store mail now, try again later";

describe("while the database is away", () => {
  let proxy: MongoDbProxy;
  let running: RunningIngest;
  let client: SmtpDialogue;
  beforeEach(async () => {
    proxy = await startMongoDbProxy(mongodbUri());
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
    vi.waitFor(async () => {
      await client.say("RSET");
      const reply = await client.deliver(stranger, [anna], mail);
      expect(reply).toMatch(/^250 2\.0\.0 queued as /);
      await running.stored(reply);
    });

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
    // Without our deadline the driver would wait for 45 s.
    expect(Date.now() - begun).toBeLessThan(30_000);
    proxy.restore();
    await isTakenAgain();
  });

  it("puts mail off at MAIL once that is known, so that none need be sent for nothing", async () => {
    await client.begin(stranger, [anna]);
    proxy.cut();
    client.send(mail);
    await client.say(".");
    expect(await client.say(`MAIL FROM:<${stranger}>`)).toBe(putOff);
    proxy.restore();
    await isTakenAgain();
  });
});

describe("only a durable mail gets 250 (I1), when the database says", () => {
  let proxy: MongoDbProxy;
  let running: RunningIngest;
  let client: SmtpDialogue;
  beforeEach(async () => {
    proxy = await startMongoDbProxy(mongodbUri());
    running = await startTestIngest({
      uri: `${proxy.uri}&serverSelectionTimeoutMS=1000`,
      env: { INGEST_STORE_TIMEOUT_MS: "3000" },
    });
    client = await SmtpDialogue.open(running.smtp);
  });
  afterEach(async () => {
    client.close();
    proxy.restore();
    await closeTestIngests();
    await proxy.close();
  });

  /** How many tries of one insert each fault strikes: the driver makes two. */
  const faults: [string, Fault, number][] = [
    ["NotWritablePrimary once", { kind: "error", error: "notWritablePrimary" }, 1],
    ["NotWritablePrimary twice", { kind: "error", error: "notWritablePrimary" }, 2],
    ["PrimarySteppedDown", { kind: "error", error: "primarySteppedDown" }, 2],
    ["InterruptedAtShutdown", { kind: "error", error: "interruptedAtShutdown" }, 2],
    ["ExceededTimeLimit", { kind: "error", error: "exceededTimeLimit" }, 2],
    ["a write-concern error, applied", { kind: "write concern", error: "timeout" }, 2],
    ["no majority to be had, applied", { kind: "write concern", error: "unsatisfiable" }, 2],
    ["nothing: its replies are lost, applied", { kind: "lose reply", close: true }, 2],
    ["nothing: the connection broke before", { kind: "lose command" }, 2],
    ["nothing for too long", { kind: "delay", ms: 4_000 }, 1],
    ["nothing for a while", { kind: "delay", ms: 1_500 }, 1],
  ];
  const inserts = ["both", "bodies", "mails"] as const;
  it.each(inserts.flatMap((name) => faults.map((fault) => [name, ...fault] as const)))(
    "of %s: %s",
    async (what, _, fault, times) => {
      const isJoint = what === "both";
      if (!isJoint) {
        const refused = { kind: "error", error: "commandNotFound" } as const;
        proxy.strike({ command: "bulkWrite", times: Infinity, fault: refused });
      }
      const struck = proxy.strike({
        ...(isJoint ? { command: "bulkWrite" } : { command: "insert", collection: what }),
        times,
        fault,
      });
      const replies: string[] = [];
      await vi.waitFor(async () => {
        await client.say("RSET");
        const reply = await client.deliver(stranger, [anna], mail);
        replies.push(reply);
        // Whatever got 250 is there at this moment, body and record.
        if (reply.startsWith("250")) await running.stored(reply);
        else expect(reply).toBe(putOff);
        expect(reply).toMatch(/^250 /);
      });
      expect(struck.hits).toBeGreaterThan(0);
      // A mail that got 451 may be there all the same: its client sends it again.
      const count = (await running.database.mails.find({ to: anna, limit: 100 })).length;
      expect(count).toBeGreaterThanOrEqual(1);
      expect(count).toBeLessThanOrEqual(replies.length);
    },
  );

  it("nothing, because it has no primary: 451, and 250 when it has one again", async () => {
    await client.begin(stranger, [anna]);
    proxy.stepDown();
    client.send(mail);
    expect(await client.say(".")).toBe(putOff);
    proxy.restore();
    await vi.waitFor(async () => {
      await client.say("RSET");
      await running.stored(await client.deliver(stranger, [anna], mail));
    });
  });
});
