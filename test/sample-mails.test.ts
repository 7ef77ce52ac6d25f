import { join } from "node:path";
import { BSON, type Document } from "mongodb";
import { beforeAll, describe, expect, it } from "vitest";
import { people, samples, type Sample } from "../start/samples/samples.ts";
import { isAsExpected, resultOf } from "../start/src/result.ts";
import { awaitFates, sendSamples, type SampleFate } from "../start/src/sample-run.ts";
import { verifyByMailDkim } from "./support/mail-dkim.ts";
import { accepted, textMail } from "./support/smtp-client.ts";
import { useWholeSystem } from "./support/use-system.ts";
import type { Relayed } from "./support/whole-system.ts";

/** One recipient whose policy changes nothing. */
const policy = `
addresses:
  plain@northwind.example:
    changes: { strip: off, verdict-headers: off, geoip: off }
  # What leaves for this sender is From the tenant's domain, and has no other change but the signature.
  rewritten@northwind.example:
    changes:
      disclaimer: off
      sender-rewrite: { map: { "@old.example": ann@northwind.example } }
`;

/** What ingest and the enricher put before an incoming mail, and nothing else. */
const fieldsOfOurs = [
  "Received",
  "X-RadicalSpam",
  "X-Relay-Countries",
  "X-Spam-Level",
  "X-Spam-Score",
  "X-Spam-Status",
  "X-Virus-Scanned",
  "X-Virus-Status",
];

describe("the sample mails", () => {
  const whole = useWholeSystem({ policy });
  let fates: SampleFate[];

  beforeAll(async () => {
    const { system, database } = whole();
    const sent = await sendSamples(samples(), system.smtp);
    const { signal } = new AbortController();
    fates = await awaitFates(sent, database.mails, { signal, report: () => undefined });
  });

  const fateOf = (name: string) => {
    const fate = fates.find(({ sample }) => sample.name === name);
    if (fate?.id === undefined) throw new Error(`sample ${name} was not accepted`);
    return { ...fate, id: fate.id };
  };
  const relayedSample = async (name: string): Promise<Relayed> => {
    const [only, ...others] = await whole().relayedOf(fateOf(name).id);
    if (only === undefined || others.length > 0) throw new Error(`${name} was not relayed once`);
    return only;
  };

  it("I1: each recipient of each meets the fate that its policy gives it, and none is lost", async () => {
    const result = resultOf(fates, await whole().database.mails.countOutcomes());
    expect(outcomesOf(fates)).toEqual(expectedOutcomes(samples()));
    expect(result.conservation).toMatchObject({ holds: true, open: 0, dead: 0, bounced: 0 });
    expect(isAsExpected(result)).toBe(true);
  });

  it("what the records call sent, and nothing else, has reached the next hop", async () => {
    const came = (await whole().relayed()).flatMap(({ rcptTo }) => rcptTo);
    const sent = samples().flatMap(({ expected }) =>
      expected.filter(({ outcome }) => outcome === "sent").map(({ address }) => address),
    );
    expect(came.sort()).toEqual(sent.sort());
  });

  it("leaves records of at most 2.5 KB for one recipient, with no plan in any", async () => {
    const records = await whole().db.collection("mails").find().toArray();
    const alone = records.filter(({ recipients }) => (recipients as unknown[]).length === 1);
    const sizeOf = (record: Document) => BSON.calculateObjectSize(record);
    expect(alone.length).toBeGreaterThan(8);
    expect(Math.max(...alone.map(sizeOf))).toBeLessThanOrEqual(2_560);
    expect(records.filter(({ plan }) => plan !== undefined)).toEqual([]);
  });

  it("incoming mail arrives byte-identical after the header fields that we add", async () => {
    const untouched = fates
      .map(({ sample }) => sample)
      .filter(({ direction, expected }) => direction === "incoming" && isSentWhole(expected))
      .filter(({ name }) => name !== "forged-headers");
    expect(untouched.length).toBeGreaterThan(6);
    for (const { name, raw, mailFrom, rcptTo } of untouched) {
      const arrived = await relayedSample(name);
      expect({ name, mailFrom: arrived.mailFrom, rcptTo: arrived.rcptTo }).toEqual({
        name,
        mailFrom,
        rcptTo,
      });
      const added = arrived.bytes.subarray(0, arrived.bytes.length - raw.length);
      expect(arrived.bytes.subarray(added.length).equals(raw)).toBe(true);
      expect(fieldsOfOurs).toEqual(expect.arrayContaining(fieldNames(added)));
    }
  });

  it("mail whose policy changes nothing arrives byte-identical after one Received field", async () => {
    const raw = textMail("nothing is changed", ["X-Spam-Flag: NO", "X-Odd : 1 \t"]);
    const id = await accepted(whole().system.smtp, { rcptTo: ["plain@northwind.example"], raw });
    const [record] = await whole().ended(id);
    expect(record?.enriched).toBeUndefined();
    const [arrived] = await whole().relayedOf(id);
    const added = arrived?.bytes.subarray(0, -raw.length).toString("latin1") ?? "";
    expect(added).toMatch(
      new RegExp(
        String.raw`^Received: from client\.example \(unknown \[127\.0\.0\.1\]\)\r\n` +
          String.raw`\tby \S+ \(rs-agent\) with ESMTP id ${id}\r\n` +
          String.raw`\tfor <plain@northwind\.example>;\r\n\t\w{3}, [^\r]+ \+0000\r\n$`,
      ),
    );
    expect(arrived?.bytes.subarray(added.length).equals(raw)).toBe(true);
  });

  it("forged verdicts of a stranger do not arrive, ours do", async () => {
    const { sample, id } = fateOf("forged-headers");
    const { header, body } = parted((await relayedSample("forged-headers")).bytes);
    expect(header).not.toMatch(/does not exist|-100\.0|: forged|bank\.example/);
    expect(header).toContain(`X-RadicalSpam: ${id}\r\n`);
    expect(header.match(/^X-Virus-Status:.*$/gm)).toEqual(["X-Virus-Status: Clean"]);
    expect(header.match(/^X-Spam-Status:/gm)).toHaveLength(1);
    expect(body).toBe(parted(sample.raw).body);
  });

  it("spam for two policies is quarantined for one recipient and tagged for the other", async () => {
    const arrived = await relayedSample("two-policies");
    expect(arrived.rcptTo).toEqual([people.desk]);
    const { header } = parted(arrived.bytes);
    expect(header).toMatch(/^Subject: \[SPAM\] You have been chosen twice\r$/m);
    expect(header).toMatch(/^X-Spam-Flag: YES\r$/m);
  });

  it.each(["outgoing", "multipart-signed"])(
    "I10: Debian's Mail::DKIM passes the signature on the outgoing sample %s",
    async (name) => {
      const { bytes } = await relayedSample(name);
      const file = join(whole().runDir, "to-verify.eml");
      const verify = (mail: Buffer) => verifyByMailDkim(mail, { key: whole().dkimKey, file });
      expect(await verify(bytes)).toEqual({
        result: "pass",
        signatures: ["northwind.example rs1"],
      });
      const touched = Buffer.concat([bytes, Buffer.from("PS\r\n")]);
      expect((await verify(touched)).result).toMatch(/^fail/);
    },
  );

  const leavesAs = async (raw: Buffer) => {
    const mailFrom = "rewritten@northwind.example";
    const rcptTo = [people.jonas];
    const id = await accepted(whole().system.smtp, { from: "outgoing", mailFrom, rcptTo, raw });
    const [record] = await whole().ended(id);
    const [arrived] = await whole().relayedOf(id);
    if (record === undefined || arrived === undefined) throw new Error(`${id} has not arrived`);
    return { record, bytes: arrived.bytes };
  };
  const textFrom = (from: string) => Buffer.from(`${from}\r\nSubject: x\r\n\r\nDear Jonas\r\n`);

  it("I10: a rewritten sender keeps its comment, and is signed for the domain that leaves", async () => {
    const { bytes } = await leavesAs(textFrom("From: Ann (Sales, EU) <ann@old.example>"));
    expect(parted(bytes).header).toContain("\r\nFrom: Ann (Sales, EU) <ann@northwind.example>\r\n");
    const file = join(whole().runDir, "to-verify.eml");
    expect(await verifyByMailDkim(bytes, { key: whole().dkimKey, file })).toEqual({
      result: "pass",
      signatures: ["northwind.example rs1"],
    });
  });

  it("a mail with a byte order mark before From leaves as it is, and its record says why", async () => {
    const raw = textFrom("\ufeffFrom: Ann <ann@northwind.example>");
    const { record, bytes } = await leavesAs(raw);
    expect(bytes.subarray(-raw.length).equals(raw)).toBe(true);
    expect(parted(bytes).header).not.toContain("DKIM-Signature");
    expect(record.enriched?.notes).toEqual([
      expect.stringMatching(/^not signed: a UTF-8 byte order mark/),
    ]);
  });

  it("the disclaimer is in the outgoing text and stays out of multipart/signed", async () => {
    expect(parted((await relayedSample("outgoing")).bytes).body).toContain("Harbour Street 1");
    const { sample } = fateOf("multipart-signed");
    const { body } = parted((await relayedSample("multipart-signed")).bytes);
    expect(body).toBe(parted(sample.raw).body);
  });
});

function outcomesOf(fates: readonly SampleFate[]): string[] {
  const recipients = fates.flatMap(({ sample, records }) =>
    records.flatMap((record) =>
      record.recipients.map(({ address, outcome }) => `${sample.name} ${address} ${outcome}`),
    ),
  );
  return recipients.sort();
}

function expectedOutcomes(all: readonly Sample[]): string[] {
  return all
    .flatMap(({ name, expected }) =>
      expected.map(({ address, outcome }) => `${name} ${address} ${outcome}`),
    )
    .sort();
}

function isSentWhole(expected: Sample["expected"]): boolean {
  return expected.every(({ outcome }) => outcome === "sent");
}

/** Names of the fields in a header block, each once, sorted. */
function fieldNames(block: Buffer): string[] {
  const names = block.toString("latin1").match(/^[^\s:]+(?=:)/gm) ?? [];
  return [...new Set(names)].sort();
}

function parted(mail: Buffer): { header: string; body: string } {
  const text = mail.toString("latin1");
  const end = text.indexOf("\r\n\r\n");
  return { header: text.slice(0, end + 2), body: text.slice(end + 4) };
}
