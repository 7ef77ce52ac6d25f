import * as fc from "fast-check";
import { BSON, type Document } from "mongodb";
import { describe, expect, it } from "vitest";
import { accepted } from "../../src/life/beginnings.ts";
import { finished } from "../../src/life/relaying.ts";
import type { MailRecord } from "../../src/mail/record.ts";
import { documentOf, readMail } from "../../src/store/mail-document.ts";
import { recordAfter, updateOf } from "../../src/store/mail-change.ts";
import { expanded } from "../../src/store/record-form.ts";
import { updated } from "../../../test/simulation/kit/database/document.ts";
import { newMail } from "../../../test/support/new-mail.ts";
import { without } from "../../src/without.ts";
import { mailIn, now, plan, verdict } from "../life/mails.ts";
import { someChange } from "../life/some-change.ts";

const planOf = () => plan;
const sha256 = "5c".repeat(32);
const mark = { wrote: "w", rev: 1 };

/** As the database gives it back. */
function fromDatabase(document: Document): Document {
  const bytes = BSON.serialize(document, { ignoreUndefined: true });
  return BSON.deserialize(bytes, { promoteBuffers: true });
}

function read(document: Document): MailRecord {
  const found = readMail(fromDatabase(document), planOf);
  if ("reason" in found) throw new Error(found.reason);
  return found.mail;
}

/** Without what only the database has, or which the plan says; of times the last answer's. */
function compared(mail: MailRecord) {
  const verdicts = Object.entries(mail.verdicts as Record<string, Document>).map(
    ([check, verdict]) => [check, without(verdict, "queueMs", "workMs")] as const,
  );
  const others = without(mail, "planRef", "plan", "route", "rev", "wrote", "lookup");
  return { ...others, verdicts: Object.fromEntries(verdicts) };
}

const ham = { kind: "ham", score: 1.5, required: 5, rules: [] } satisfies Document as never;
const full: MailRecord = mailIn("ready", {
  body: { id: "body-1", form: "document", size: 10, sha256 },
  header: {
    messageId: "<1@example.org>",
    from: "Alice <alice@example.org>",
    fromDomain: "example.org",
    fromAddresses: ["alice@example.org"],
    subject: "Grüße",
  },
  verdicts: {
    virus: { ...verdict, sha256 },
    spam: { ...verdict, finding: ham, sha256: "0".repeat(64) },
  },
  timings: { virus: { queueMs: 1, workMs: 2 }, relay: { queueMs: 3, workMs: 4 } },
  enriched: {
    headerBlock: Buffer.from("X-RadicalSpam: 1\r\n"),
    ...{ restOffset: 0, sha256, size: 28, settingsHash: "ab".repeat(16), notes: [] },
    ...{ verdictsHash: "cd".repeat(16), worker: "e", queueMs: 0, workMs: 0, at: now },
  },
  history: [{ at: now, event: "accepted", by: "ingest-1" }],
});

describe("a record in the small form", () => {
  it("is read as it was written", () => {
    expect(compared(read(documentOf(full)))).toEqual(compared(full));
    expect(read(documentOf(full))).toMatchObject({ plan, route: plan.route });
    const odd = newMail({
      header: { messageId: "1@example.org", fromDomain: "other.example" },
      smtp: { ...full.smtp, rcptTo: ["a@b.example", "c@d.example"] },
      enriched: {
        ...(full.enriched as never as object),
        notes: ["x"],
        settingsHash: "none",
      } as never,
    });
    expect(compared(read(documentOf(odd)))).toEqual(compared(odd));
  });

  it("is after any changes what it is in memory (property)", () => {
    const form = { v: 2, sha256 };
    fc.assert(
      fc.property(fc.array(someChange, { maxLength: 4 }), (changes) => {
        const document = changes.reduce<Document>(
          (before, change) => updated(before as never, updateOf(change, mark, form)).doc,
          documentOf(full),
        );
        const after = expanded(fromDatabase(document)) as MailRecord;
        expect(compared(after)).toEqual(compared(changes.reduce(recordAfter, full)));
      }),
    );
  });

  it("names its plan by hash, with what must hold even if the plan cannot be read", () => {
    const document = documentOf(full);
    expect(document).not.toHaveProperty("plan");
    expect(document).not.toHaveProperty("route");
    const found = readMail(document);
    if ("reason" in found) throw new Error(found.reason);
    expect(found.mail).toMatchObject({ planRef: { onUnknown: "resend", policyIds: ["built-in"] } });
    expect([found.mail.plan, found.mail.route]).toEqual([undefined, undefined]);
  });

  it("is near 1 KB at acceptance", () => {
    const given = { ...full, origin: { via: "smtp", name: "smtp:192.0.2.1:25" } } as const;
    const { _id, origin, smtp, receivedAt, body, header } = given;
    const mail = accepted({ _id, origin, smtp, receivedAt, body, header }, "ingest-host-1");
    expect(BSON.calculateObjectSize(documentOf(mail))).toBeLessThan(1_050);
  });

  it("keeps of the bytes that were sent only what they were", () => {
    const recipients = full.recipients.map((one) => ({ ...one, outcome: "sent" as const }));
    const attempt = { recipients, statuses: [], hop: "h", startedAt: now, hadMark: true, now };
    const { set } = finished(full, { attempt });
    expect(set?.enriched).toMatchObject({ sha256, size: 28 });
    expect(set?.enriched).not.toHaveProperty("headerBlock");
  });
});

it("a record of the first form is read and written as before", () => {
  const old: MailRecord = { ...full, v: 1 };
  expect(without(documentOf(old), "lookup")).toEqual(old);
  expect(compared(read(documentOf(old)))).toEqual(compared(old));
  const change = { set: { plan }, verdicts: { virus: verdict } };
  expect(updateOf(change, mark, { v: 1, sha256 }).$set).toEqual({
    plan,
    "verdicts.virus": verdict,
    ...mark,
  });
});
