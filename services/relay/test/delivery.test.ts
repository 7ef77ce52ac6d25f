import { randomUUID } from "node:crypto";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sha256Hex } from "@rs-agent/shared/ids.ts";
import type { Enriched } from "@rs-agent/shared/mail/record.ts";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { mailIn, rawMail, readyMail, routeTo } from "./ready-mail.ts";
import { ownDatabase, runningRelay, runningSink } from "./running-relay.ts";
import { scriptedHop } from "./scripted-hop.ts";

async function installation(settings: Record<string, string> = {}) {
  const db = `relay-${randomUUID()}`;
  const database = await ownDatabase(db);
  return { db, database, start: () => runningRelay(db, settings) };
}

const circumstances = {
  settingsHash: "0".repeat(32),
  notes: [],
  verdictsHash: "",
  worker: "enricher",
  queueMs: 0,
  workMs: 0,
};

function enrichedAs(bytes: Buffer, enriched: Partial<Enriched>): Enriched {
  const { length: size } = bytes;
  return {
    ...circumstances,
    restOffset: 0,
    sha256: sha256Hex(bytes),
    size,
    at: new Date(),
    ...enriched,
  };
}

describe("delivery", () => {
  it("brings exactly the stored bytes to the next hop, and says sent", async () => {
    const { database, start } = await installation();
    const sink = await runningSink();
    const mixed = Buffer.concat([
      rawMail,
      Buffer.from("8 bit: \xe4\xf6\xfc\xff\x00 end\r\n", "latin1"),
      Buffer.from(`${"x".repeat(2_000)}\r\n`.repeat(100)),
    ]);
    const id = await readyMail(database, { route: routeTo(sink.port) }, mixed);
    await start();
    const mail = await vi.waitFor(() => mailIn(database, id, "sent"));
    expect(await sink.mails()).toEqual([mixed]);
    expect(mail.recipients).toMatchObject([{ outcome: "sent", status: "2.0.0", attempts: 1 }]);
    expect(mail.recipients[0]?.reply).toMatch(/^250 2\.0\.0 kept as /);
    expect(mail.unknown).toBeUndefined();
    expect(mail.next).toBeUndefined();
    expect(mail.lease).toBeUndefined();
    expect(mail.expireAt).toBeInstanceOf(Date);
    expect(mail.timings?.relay?.workMs).toBeGreaterThanOrEqual(0);
  });

  it("sends the enricher's header block before the untouched rest, from the rewritten sender", async () => {
    const { database, start } = await installation();
    let mailFrom = "";
    const sink = await runningSink({
      answer: (moment) => {
        if (moment.step === "mail") ({ mailFrom } = moment.mail);
        return undefined;
      },
    });
    const headerBlock = Buffer.from("X-RadicalSpam: 1\r\nFrom: A <a@sender.example>\r\n\r\n");
    const restOffset = rawMail.indexOf("\r\n\r\n") + 4;
    const bytes = Buffer.concat([headerBlock, rawMail.subarray(restOffset)]);
    const enriched = enrichedAs(bytes, { headerBlock, restOffset, mailFrom: "srs@relay.example" });
    const id = await readyMail(database, { route: routeTo(sink.port), record: { enriched } });
    await start();
    await vi.waitFor(() => mailIn(database, id, "sent"));
    expect(await sink.mails()).toEqual([bytes]);
    expect(mailFrom).toBe("srs@relay.example");
  });

  it("sends the whole changed mail if the enricher changed the body", async () => {
    const { database, start } = await installation();
    const sink = await runningSink();
    const changed = Buffer.concat([rawMail, Buffer.from("A disclaimer.\r\n")]);
    const body = await database.bodies.put(changed);
    const enriched = enrichedAs(changed, { body });
    const id = await readyMail(database, { route: routeTo(sink.port), record: { enriched } });
    await start();
    await vi.waitFor(() => mailIn(database, id, "sent"));
    expect(await sink.mails()).toEqual([changed]);
  });

  it("never sends bytes other than those that the enricher verified (I10)", async () => {
    const { database, start } = await installation();
    const sink = await runningSink();
    const enriched = enrichedAs(rawMail, { sha256: "f".repeat(64) });
    const route = routeTo(sink.port);
    const wrong = await readyMail(database, { route, record: { enriched } });
    const good = await readyMail(database, { route });
    await start();
    const mail = await vi.waitFor(() => mailIn(database, wrong, "dead"));
    await vi.waitFor(() => mailIn(database, good, "sent"));
    expect(mail.reason).toMatch(/^STORE_BODY_CORRUPT: .*SHA-256/);
    expect(mail.recipients[0]?.outcome).toBe("dead");
    expect(sink.delivered).toBe(1);
  });

  it("holds a mail without the signature that its policy demands (I10)", async () => {
    const { database, start } = await installation();
    const sink = await runningSink();
    const demandedSignature = { domain: "sender.example", selector: "s1" };
    const route = routeTo(sink.port);
    const id = await readyMail(database, { route, plan: { demandedSignature } });
    await start();
    const mail = await vi.waitFor(() => mailIn(database, id, "held"));
    expect(mail.reason).toContain("d=sender.example s=s1");
    expect(mail.recipients[0]?.outcome).toBe("open");
    expect(sink.delivered).toBe(0);
  });

  it("sends nothing that is quarantined, discarded, held, dead or not yet ready", async () => {
    const { database, start } = await installation();
    const sink = await runningSink();
    const route = routeTo(sink.port);
    const states = ["quarantined", "discarded", "held", "dead", "processing", "incoming"] as const;
    for (const state of states) await readyMail(database, { route, record: { state } });
    const id = await readyMail(database, { route });
    await start();
    await vi.waitFor(() => mailIn(database, id, "sent"));
    expect(sink.delivered).toBe(1);
  });

  it("gives each recipient its own outcome and keeps the hop's reply whole (I1)", async () => {
    const { database, start } = await installation();
    let busy = true;
    const sink = await runningSink({
      answer: (moment) => {
        if (moment.step !== "recipient") return undefined;
        if (moment.address.startsWith("no@")) return "550 5.1.1 no such user";
        return moment.address.startsWith("later@") && busy ? "450 4.2.1 try later" : undefined;
      },
    });
    const to = ["yes@rcpt.example", "no@rcpt.example", "later@rcpt.example"];
    const route = routeTo(sink.port);
    const id = await readyMail(database, { route, to, relay: { retryMs: [400] } });
    await start();
    const waiting = await vi.waitFor(async () => {
      const mail = await mailIn(database, id, "ready");
      expect(mail.recipients[0]?.outcome).toBe("sent");
      return mail;
    });
    busy = false;
    expect(waiting.recipients).toMatchObject([
      { outcome: "sent" },
      { outcome: "bounced", status: "5.1.1", reply: "550 5.1.1 no such user" },
      { outcome: "open", status: "4.2.1", reply: "450 4.2.1 try later", attempts: 1 },
    ]);
    const done = await vi.waitFor(() => mailIn(database, id, "bounced"));
    expect(done.recipients.map(({ outcome }) => outcome)).toEqual(["sent", "bounced", "sent"]);
    expect(done.recipients[2]?.attempts).toBe(2);
    expect(sink.delivered).toBe(2);
    expect((await database.mails.countOutcomes()).holds).toBe(true);
  });

  it("gives each LMTP recipient the reply that it got after the mail", async () => {
    const { database, start } = await installation();
    const sink = await runningSink({
      lmtp: true,
      answer: (moment) =>
        moment.step === "mail" && moment.recipient.startsWith("full@")
          ? "552 5.2.2 mailbox full"
          : undefined,
    });
    const to = ["one@rcpt.example", "full@rcpt.example", "two@rcpt.example"];
    const id = await readyMail(database, { route: routeTo(sink.port, { protocol: "lmtp" }), to });
    await start();
    const mail = await vi.waitFor(() => mailIn(database, id, "bounced"));
    expect(mail.recipients).toMatchObject([
      { outcome: "sent" },
      { outcome: "bounced", status: "5.2.2", reply: "552 5.2.2 mailbox full" },
      { outcome: "sent" },
    ]);
  });

  it("bounces 8-bit mail to a hop without 8BITMIME, mail that is too large, and addresses that SMTP cannot carry", async () => {
    const { database, start } = await installation();
    const sink = await runningSink({ hide: ["8BITMIME", "SMTPUTF8"], maxBytes: 10_000 });
    const route = routeTo(sink.port);
    const eightBit = await readyMail(database, { route }, Buffer.from("Subject: \xe4\r\n\r\n"));
    const large = await readyMail(database, { route }, Buffer.alloc(21_000, "x\r\n"));
    const odd = await readyMail(database, { route, to: ["bj\u00f6rn@rcpt.example", "<>", "b@x"] });
    await start();
    const statusOf = async (id: string) => {
      const mail = await vi.waitFor(() => mailIn(database, id, "bounced"));
      return mail.recipients.map(({ outcome, status }) => `${outcome} ${status ?? ""}`);
    };
    expect(await statusOf(eightBit)).toEqual(["bounced 5.6.3"]);
    expect(await statusOf(large)).toEqual(["bounced 5.3.4"]);
    expect(await statusOf(odd)).toEqual(["bounced 5.6.7", "bounced 5.1.3", "sent 2.0.0"]);
    expect(sink.delivered).toBe(1);
  });

  it("sends 8-bit mail and internationalised addresses to a hop that asks for a password", async () => {
    const secretsDir = await mkdtemp(join(tmpdir(), "relay-test-secrets-"));
    onTestFinished(() => rm(secretsDir, { recursive: true }));
    await mkdir(join(secretsDir, "hop"));
    await writeFile(join(secretsDir, "hop", "username"), "u");
    await writeFile(join(secretsDir, "hop", "password"), "p");
    const { database, start } = await installation({ RELAY_SECRETS_DIR: secretsDir });
    const sink = await runningSink({ onAuth: (user, password) => user + password === "up" });
    const route = routeTo(sink.port, { credential: "hop" });
    const raw = Buffer.from("Subject: \xe4\r\n\r\n\xe4\r\n", "latin1");
    const ids = [
      await readyMail(database, { route }, raw),
      await readyMail(database, { route, to: ["ä@rcpt.example"] }, raw),
    ];
    await start();
    for (const id of ids) await vi.waitFor(() => mailIn(database, id, "sent"));
    expect(await sink.mails()).toEqual([raw, raw]);
  });

  it("gives the hop quoted local parts as they came (RFC 5321 §4.1.2)", async () => {
    const { database, start } = await installation();
    const hop = await scriptedHop({});
    const from = '"sender x"@sender.example';
    const to = [
      '"odd user"@acme.example',
      '"a@b"@acme.example',
      '"a\\"b, c; d"@acme.example',
      '" "@acme.example',
    ];
    const id = await readyMail(database, { route: routeTo(hop.port), from, to });
    await start();
    const mail = await vi.waitFor(() => mailIn(database, id, "sent"));
    expect(hop.lines.filter((line) => /^(MAIL|RCPT)/.test(line))).toEqual([
      `MAIL FROM:<${from}>`,
      ...to.map((address) => `RCPT TO:<${address}>`),
    ]);
    expect(mail.recipients.map(({ address }) => address)).toEqual(to);
  });

  it("finds waiting mail by the timer alone when no dispatcher tells of it (I6)", async () => {
    const { database, start } = await installation();
    const sink = await runningSink();
    await start();
    const id = await readyMail(database, { route: routeTo(sink.port) });
    await vi.waitFor(() => mailIn(database, id, "sent"));
  });

  it("sends nothing while a person has paused the relay", async () => {
    const { database, start } = await installation();
    const sink = await runningSink();
    await database.controls.pause("relay", "a person");
    const id = await readyMail(database, { route: routeTo(sink.port) });
    const relay = await start();
    await relay.ready;
    expect((await database.mails.get(id))?.claims).toBeUndefined();
    await database.controls.resume("relay");
    await vi.waitFor(() => mailIn(database, id, "sent"));
  });
});
