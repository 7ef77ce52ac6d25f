import { join } from "node:path";
import { release } from "../cli/src/interventions.ts";
import { afterAll, describe, expect, it, vi } from "vitest";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import { eicar } from "@rs-agent/av-worker/eicar.ts";
import {
  attachment,
  entityBytes,
  multipart,
  textPart,
  type Field,
} from "@rs-agent/kit/mails/mime.ts";
import { people } from "../start/samples/samples.ts";
import { startNameServer, type NameServer } from "@rs-agent/kit/name-server.ts";
import { freePort } from "@rs-agent/kit/free-port.ts";
import { verifyByMailDkim } from "./support/mail-dkim.ts";
import { accepted, handIn, textMail, type Handed } from "./support/smtp-client.ts";
import { useWholeSystem } from "./support/use-system.ts";

const noVirusCheck = `
addresses:
  ${people.anna}: { virus: off }
`;

/** What a tamperer writes: a clean verdict that was given to other bytes. */
function cleanOn(sha256: string) {
  return { "verdicts.virus.finding": { kind: "clean" }, "verdicts.virus.sha256": sha256 };
}

function overrideOf(finding: string) {
  const check = finding === "spam" ? "spam" : "virus";
  return { overrides: [{ check, finding, by: "nobody", at: new Date(0) }] };
}

function infectedMail(fields: readonly Field[] = []): Buffer {
  const content = multipart("multipart/mixed", "=_infected", [
    textPart("Dear Anna,\n\nplease find the invoice attached.\n\nJonas\n"),
    attachment("application/octet-stream", "invoice.com", eicar),
  ]);
  const from: Field[] =
    fields.length > 0
      ? [...fields]
      : [
          ["From", `Jonas Keller <${people.jonas}>`],
          ["To", `Anna Berg <${people.anna}>`],
        ];
  return entityBytes({
    fields: [
      ...from,
      ["Subject", "Invoice 2027-119"],
      ["Date", new Date().toUTCString().replace("GMT", "+0000")],
      ["Message-ID", `<invoice.${performance.now()}@partner.example>`],
      ["MIME-Version", "1.0"],
      ...content.fields,
    ],
    body: content.body,
  });
}

describe("what must not leave", () => {
  const whole = useWholeSystem();

  /** An infected mail in quarantine. */
  async function quarantined(given: Partial<Handed> = {}) {
    const id = await accepted(whole().system.smtp, { raw: infectedMail(), ...given });
    const [mail] = await whole().ended(id);
    expect(mail?.state).toBe("quarantined");
    return id;
  }

  /** Puts a final record back to work by force, as somebody with a mongo shell would. */
  async function forceBack(id: string, changes: Record<string, unknown>): Promise<MailRecord> {
    const { matchedCount } = await whole()
      .db.collection<{ _id: string }>("mails")
      .updateOne(
        { _id: id },
        {
          $set: {
            state: "processing",
            next: "virus",
            dueAt: new Date(),
            "recipients.$[].outcome": "open",
            ...changes,
          },
          $unset: { finalAt: "", expireAt: "" },
        },
      );
    expect(matchedCount).toBe(1);
    const [mail] = await whole().ended(id);
    if (mail === undefined) throw new Error(`${id} is gone`);
    return mail;
  }

  async function unset(id: string, field: string): Promise<void> {
    const mails = whole().db.collection<{ _id: string }>("mails");
    await mails.updateOne({ _id: id }, { $unset: { [field]: "" } });
  }

  const wasReady = ({ history }: MailRecord) => history.some(({ event }) => event === "ready");

  it.each([
    ["the check that is due next", () => ({ next: "enrich" })],
    ["the state, to the very beginning", () => ({ state: "incoming", next: "plan", plan: null })],
    ["the verdict's SHA-256", () => ({ "verdicts.virus.sha256": "0".repeat(64) })],
    ["the verdict's settings hash", () => ({ "verdicts.virus.settingsHash": "0".repeat(32) })],
    ["the verdict's finding, to one for other bytes", () => cleanOn("1".repeat(64))],
    ["the override, to one of another finding", () => overrideOf("infected: Something-Else")],
    ["the override, to one of another check", () => overrideOf("spam")],
  ])(
    "I2: an infected mail stays in quarantine where somebody changes %s in the database",
    async (_, changes) => {
      const id = await quarantined();
      const { plan, ...set } = { plan: undefined, ...changes() } as Record<string, unknown>;
      if (plan === null) await unset(id, "plan");
      const mail = await forceBack(id, set);
      expect(mail).toMatchObject({
        state: "quarantined",
        recipients: [{ outcome: "quarantined" }],
      });
      expect(mail.verdicts.virus?.finding.kind).toBe("infected");
      expect(wasReady(mail)).toBe(false);
      expect(await whole().relayedOf(id)).toEqual([]);
    },
  );

  it("I2: an infected mail stays in quarantine when policy switches the virus check off", async () => {
    const ids = [await quarantined(), await quarantined(), await quarantined()];
    await whole().policy(noVirusCheck);
    const mails = [
      await forceBack(ids[0] ?? "", {}),
      await forceBack(ids[1] ?? "", { state: "incoming", next: "plan" }),
      await forceBack(ids[2] ?? "", { "verdicts.virus.sha256": "0".repeat(64), next: "spam" }),
    ];
    await whole().policy("");
    for (const mail of mails) {
      expect(mail).toMatchObject({
        state: "quarantined",
        reason: expect.stringMatching(/infected/) as unknown,
      });
      expect(mail.plan?.virus).toBeUndefined();
      expect(wasReady(mail)).toBe(false);
      expect(await whole().relayedOf(mail._id)).toEqual([]);
    }
  });

  it("a body that is not the one that was accepted makes a dead letter, not a mail", async () => {
    const id = await quarantined();
    const mail = await forceBack(id, {
      "body.sha256": "2".repeat(64),
      "verdicts.virus.sha256": "2".repeat(64),
      "verdicts.virus.finding": { kind: "clean" },
    });
    expect(mail).toMatchObject({
      state: "dead",
      reason: expect.stringMatching(/SHA-256|BODY/) as unknown,
    });
    expect(await whole().relayedOf(id)).toEqual([]);
  });

  it("I2, I10: a release that names the finding lets the mail take the steps that it has not had", async () => {
    const { database, dkimKey, runDir, system } = whole();
    const raw = infectedMail([
      ["From", `Ben Otto <${people.ben}>`],
      ["To", `Jonas Keller <${people.jonas}>`],
    ]);
    const id = await quarantined({
      from: "outgoing",
      mailFrom: people.ben,
      rcptTo: [people.jonas],
      raw,
    });
    const before = await whole().record(id);
    expect(before.verdicts.spam).toBeUndefined();
    const actor = { by: "e2e", now: database.clock.now() };
    expect(() => release(before, [], actor)).toThrow(/names its finding/);
    expect(() => release(before, ["spam"], actor)).toThrow(/has no 'spam'/);
    const { states, change } = release(before, [before.reason ?? ""], actor);
    expect(await database.mails.writeAs(id, { states, unleased: true }, change)).toBe("written");

    const [after] = await whole().ended(id);
    expect(after).toMatchObject({ state: "sent", overrides: [{ by: "e2e", check: "virus" }] });
    expect(after?.verdicts.spam?.finding.kind).toBe("ham");
    expect(after?.verdicts.virus).toEqual(before.verdicts.virus);
    const [arrived, ...again] = await whole().relayedOf(id);
    expect(again).toEqual([]);
    expect(arrived?.bytes.toString("latin1")).toMatch(/^X-Virus-Status: Infected \(.*\)\r$/m);
    expect(arrived?.bytes.toString("latin1")).toContain("Harbour Street 1");
    const file = join(runDir, "released.eml");
    const verified = await verifyByMailDkim(arrived?.bytes ?? raw, { key: dkimKey, file });
    expect(verified).toEqual({ result: "pass", signatures: ["northwind.example rs1"] });
    expect(await handIn(system.smtp, { raw: textMail("still at work") })).toMatch(/^250 /);
  });

  it("mail of a stranger who claims to be of the tenant is not signed", async () => {
    const raw = Buffer.from(
      textMail("forged").toString("latin1").replace(people.jonas, people.ben),
      "latin1",
    );
    const id = await accepted(whole().system.smtp, { mailFrom: people.ben, raw });
    const [mail] = await whole().ended(id);
    expect(mail).toMatchObject({ state: "sent", direction: "incoming" });
    expect(mail?.header).toMatchObject({ fromDomain: "northwind.example" });
    expect(mail?.enriched?.signature).toBeUndefined();
    const [arrived] = await whole().relayedOf(id);
    expect(arrived?.bytes.toString("latin1")).not.toMatch(/^DKIM-Signature:/im);
  });

  it("mail of the tenant's client is not signed for a domain that is not the tenant's", async () => {
    const id = await accepted(whole().system.smtp, {
      from: "outgoing",
      rcptTo: [people.jonas],
      raw: textMail("not ours to sign"),
    });
    const [mail] = await whole().ended(id);
    expect(mail).toMatchObject({ state: "sent", direction: "outgoing" });
    const [arrived] = await whole().relayedOf(id);
    expect(arrived?.bytes.toString("latin1")).not.toMatch(/^DKIM-Signature:/im);
  });

  it("a stranger may not send to strangers", async () => {
    const reply = await handIn(whole().system.smtp, {
      rcptTo: ["someone@elsewhere.example"],
      raw: textMail("relay me"),
    });
    expect(reply).toMatch(/^550 5\.7\.1 /);
  });

  it("a mail with more than 100 Received fields is refused", async () => {
    const hops = Array.from(
      { length: 101 },
      (_, n) => `Received: from a${n}.example by b${n}.example; Mon, 23 Nov 2026 00:00:00 +0000`,
    );
    const { smtp } = whole().system;
    expect(await handIn(smtp, { raw: textMail("too far", hops) })).toMatch(/^554 5\.4\.6 /);
    expect(await handIn(smtp, { raw: textMail("far", hops.slice(1)) })).toMatch(/^250 /);
  });
});

describe("a next hop that is ourselves", () => {
  let port = 0;
  let dns: NameServer | undefined;
  afterAll(() => dns?.close());
  const whole = useWholeSystem(async () => {
    port = await freePort();
    dns = await startNameServer({ "TXT partner.example": ["v=spf1 ip4:127.0.0.1 -all"] });
    return {
      smtp: `127.0.0.1:${port}`,
      env: { DNS_SERVERS: dns.address },
      policy: `
addresses:
  circle@northwind.example: { route: { nextHop: "127.0.0.1:${port}" } }
`,
    };
  });

  it("ends the loop after five rounds, with a report to the sender", async () => {
    const { database, system } = whole();
    const raw = textMail("round and round");
    const first = await accepted(system.smtp, { rcptTo: ["circle@northwind.example"], raw });
    expect(await whole().ended(first)).toMatchObject([{ state: "sent" }]);
    const [last] = await vi.waitFor(async () => {
      const bounced = await database.mails.find({ state: "bounced", limit: 9 });
      if (bounced.length === 0) throw new Error("nothing has bounced yet");
      return bounced;
    });
    const reply = expect.stringMatching(/^554 .*it has passed here 5 times already/) as unknown;
    expect(last).toMatchObject({ recipients: [{ outcome: "bounced", status: "5.4.6", reply }] });
    expect(last?._id).not.toBe(first);
    await vi.waitFor(async () => {
      const [report, ...more] = await whole().relayed();
      expect(more).toEqual([]);
      expect(report).toMatchObject({ mailFrom: "", rcptTo: [people.jonas] });
      expect(report?.bytes.toString("latin1")).toContain("5.4.6");
    });
    // The next hop has the report before the relay has recorded that.
    await vi.waitFor(async () => {
      expect(await database.mails.countOutcomes()).toMatchObject({
        accepted: 5,
        sent: 4,
        bounced: 1,
        open: 0,
        holds: true,
        dsn: { sent: 1, open: 0 },
      });
    });
  });
});
