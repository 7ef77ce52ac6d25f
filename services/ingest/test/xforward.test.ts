import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import {
  anna,
  ben,
  closeTestIngests,
  startTestIngest,
  stranger,
  tenantClient,
  type RunningIngest,
} from "./running-ingest.ts";
import { SmtpDialogue } from "./smtp-dialogue.ts";

const mail = "Subject: x\r\n\r\nHello\r\n";
const unavailable = "[UNAVAILABLE]";

describe("XFORWARD from a listed peer", () => {
  let running: RunningIngest;
  let client: SmtpDialogue;
  beforeAll(async () => {
    running = await startTestIngest({ env: { INGEST_XFORWARD_PEERS: "127.0.0.1,127.0.0.2" } });
  });
  afterAll(closeTestIngests);
  beforeEach(async () => {
    client = await SmtpDialogue.open(running.smtp);
  });
  afterEach(() => client.close());

  const clientOfMail = async (mailFrom = stranger, rcptTo = [anna]) => {
    const { mail: record, raw } = await running.stored(
      await client.deliver(mailFrom, rcptTo, mail),
    );
    return { ...record.smtp.client, raw: raw.toString(), direction: record.direction };
  };

  it("names the client that handed the mail over", async () => {
    expect(await client.say("XFORWARD NAME=mx.far.example ADDR=192.0.2.9 PORT=4711")).toMatch(
      /^250 /,
    );
    expect(await client.say("XFORWARD PROTO=ESMTP HELO=far.example SOURCE=REMOTE")).toMatch(
      /^250 /,
    );
    const found = await clientOfMail();
    expect(found).toMatchObject({
      address: "192.0.2.9",
      name: "mx.far.example",
      helo: "far.example",
    });
    expect(found.raw).toContain("Received: from far.example (mx.far.example [192.0.2.9])\r\n");
  });

  it("decides the direction", async () => {
    await client.say(`XFORWARD ADDR=${tenantClient} HELO=desk.northwind.example`);
    expect(await clientOfMail(anna, [stranger])).toMatchObject({ direction: "outgoing" });
  });

  it("makes a stranger's mail incoming although its peer is in a tenant's network", async () => {
    using inside = await SmtpDialogue.open(running.smtp, tenantClient);
    await inside.say("XFORWARD ADDR=192.0.2.9");
    expect(await inside.deliver(anna, [stranger], mail)).toMatch(/^550 5\.7\.1 /);
  });

  it("holds for one transaction: the next mail is the peer's own", async () => {
    await client.say(`XFORWARD ADDR=${tenantClient} HELO=desk.northwind.example`);
    await clientOfMail(anna, [stranger]);
    expect(await clientOfMail(stranger, [ben])).toMatchObject({
      address: "127.0.0.1",
      helo: "client.test",
      direction: "incoming",
    });
    await client.say(`XFORWARD ADDR=${tenantClient}`);
    await client.say("RSET");
    expect(await client.deliver(anna, [stranger], mail)).toMatch(/^550 5\.7\.1 /);
  });

  it("calls unknown what is not available, and never names the previous client", async () => {
    await client.say(`XFORWARD ADDR=${tenantClient} HELO=desk.northwind.example`);
    await clientOfMail(anna, [stranger]);
    await client.say(`XFORWARD NAME=${unavailable} ADDR=${unavailable} HELO=${unavailable}`);
    expect(await clientOfMail()).toMatchObject({
      address: "",
      name: "",
      helo: "",
      direction: "incoming",
    });
  });

  it("takes what the peer calls local for the peer's own", async () => {
    using inside = await SmtpDialogue.open(running.smtp, tenantClient);
    await inside.say(
      `XFORWARD NAME=localhost ADDR=${unavailable} HELO=${unavailable} SOURCE=LOCAL`,
    );
    const { mail: record } = await running.stored(await inside.deliver(anna, [stranger], mail));
    expect(record).toMatchObject({
      direction: "outgoing",
      smtp: { client: { address: tenantClient, helo: "client.test" } },
    });
  });

  it("leaves a readable record, however long the names are (I9)", async () => {
    await client.say(`XFORWARD ADDR=192.0.2.9 HELO=${"x".repeat(1_500)}`);
    expect((await clientOfMail()).helo).toHaveLength(255);
    await client.say(`EHLO ${"y".repeat(300)}`);
    expect((await clientOfMail()).helo).toHaveLength(255);
  });

  it("takes a HELO that is not ASCII, as some clients send it", async () => {
    expect(await client.say("XFORWARD ADDR=192.0.2.9 HELO=b+C3+84r.far.example")).toMatch(/^250 /);
    const found = await clientOfMail();
    expect(found).toMatchObject({ address: "192.0.2.9", helo: "b\xe3?r.far.example" });
    expect(found.raw).toContain("Received: from b??r.far.example (unknown [192.0.2.9])\r\n");
  });

  it.each(["XFORWARD ADDR=nonsense", "XFORWARD COLOUR=red", "XFORWARD", "XFORWARD HELO=a+0D+0Ab"])(
    "refuses the malformed %s",
    async (command) => {
      expect(await client.say(command)).toMatch(/^501 5\.5\.4 /);
    },
  );

  describe("that was refused", () => {
    const bad = "XFORWARD ADDR=nonsense";
    const putOff = /^451 4\.5\.4 XFORWARD was refused/;

    it("puts the mail off: it is not the peer's own, not even on a second try", async () => {
      using inside = await SmtpDialogue.open(running.smtp, tenantClient);
      await inside.say(bad);
      expect(await inside.deliver(anna, [stranger], mail)).toMatch(putOff);
      expect(await inside.deliver(anna, [stranger], mail)).toMatch(putOff);
    });

    it("is not made good by another command of the same transaction", async () => {
      await client.say(bad);
      expect(await client.say("XFORWARD HELO=far.example SOURCE=REMOTE")).toMatch(/^250 /);
      expect(await client.deliver(stranger, [anna], mail)).toMatch(putOff);
    });

    it("counts even after one that was taken", async () => {
      expect(await client.say("XFORWARD ADDR=192.0.2.9")).toMatch(/^250 /);
      await client.say("XFORWARD HELO=a+0D+0Ab");
      expect(await client.deliver(stranger, [anna], mail)).toMatch(putOff);
    });

    it.each(["RSET", "EHLO peer.test"])("is over with %s", async (command) => {
      await client.say(bad);
      expect(await client.say(command)).toMatch(/^250 /);
      expect(await clientOfMail()).toMatchObject({ address: "127.0.0.1" });
      await client.say("XFORWARD ADDR=192.0.2.9");
      expect(await clientOfMail()).toMatchObject({ address: "192.0.2.9" });
    });
  });

  it("is refused in the middle of a transaction, which goes on unharmed", async () => {
    await client.say(`MAIL FROM:<${stranger}>`);
    expect(await client.say(`XFORWARD ADDR=${tenantClient}`)).toMatch(/^503 5\.5\.1 /);
    expect(await client.say(`RCPT TO:<${anna}>`)).toMatch(/^250 /);
    expect(await client.say(`RCPT TO:<${stranger}>`)).toMatch(/^550 5\.7\.1 /);
  });
});
