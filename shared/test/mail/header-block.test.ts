import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { canonicalize } from "../../src/mail/canonical.ts";
import {
  encodedText,
  fieldBody,
  fieldBytes,
  foldField,
  readHeaderBlock,
  unfoldedBody,
} from "../../src/mail/header-block.ts";
import { countCpu } from "../../../test/support/cpu-time.ts";

const bytes = (text: string) => Buffer.from(text, "latin1");
const text = (data: Buffer) => data.toString("latin1");
const sha256 = (data: Buffer) => createHash("sha256").update(data).digest("hex");

describe("readHeaderBlock", () => {
  it("finds where the body begins and gives fields with their raw bytes", () => {
    const raw = bytes("Subject: a\r\n  b\r\nX-8: \xe4\r\nto : c\r\n\r\nbody: no field\r\n");
    const block = readHeaderBlock(raw);
    expect(block.fields.map((field) => [field.name, text(fieldBytes(field))])).toEqual([
      ["subject", "Subject: a\r\n  b\r\n"],
      ["x-8", "X-8: \xe4\r\n"],
      ["to", "to : c\r\n"],
    ]);
    expect(text(raw.subarray(block.restOffset))).toBe("body: no field\r\n");
    expect(block.fields.map(unfoldedBody)).toEqual(["a  b", "ä", "c"]);
    expect(text(fieldBody(block.fields[0] as never))).toBe(" a\r\n  b\r\n");
  });

  it.each([
    ["an empty mail", "", 0, []],
    ["a mail without a header", "\r\nbody\r\n", 2, []],
    ["a mail with only a header", "Subject: a\r\n", 12, ["subject"]],
    ["a line without a colon", "A: 1\r\nnonsense\r\nB: 2\r\n\r\nbody\r\n", 24, ["a", "", "b"]],
    ["an mbox line", "From a@b Mon Jan  1 10:00:00\r\nA: 1\r\n\r\n", 38, ["", "a"]],
    ["a folded first line", " x: y\r\nA: 1\r\n\r\n", 15, ["", "a"]],
    ["a name folded before its colon", "X-Spam\r\n : no\r\n\r\n", 17, ["x-spam"]],
  ])("takes %s as it is", (_, mail, restOffset, names) => {
    const block = readHeaderBlock(bytes(mail));
    expect(block.restOffset).toBe(restOffset);
    expect(
      block.fields.map(({ name }) => (/^[\x21-\x39\x3b-\x7e]*$/.test(name) ? name : "")),
    ).toEqual(names);
    expect(text(block.build())).toBe(mail.slice(0, restOffset));
  });

  it("reads and edits 100,000 lines in time that grows linearly", () => {
    const raw = bytes(
      "X-Field: value\r\n".repeat(50_000) + "A:\r\n\tb\r\n".repeat(25_000) + "\r\n",
    );
    const cpuMs = countCpu();
    const block = readHeaderBlock(raw);
    block.removeWhere(({ name }) => name === "a");
    block.rewrite(() => foldField("X-Field", "other"));
    block.prepend(foldField("New", "1"));
    const built = block.build();
    expect(cpuMs()).toBeLessThan(2_000);
    expect(built.length).toBe(8 + 50_000 * 16 + 2);
  });
});

describe("HeaderBlock", () => {
  const mail = "Received: r\r\nsubject:  Old \r\n\tfolded\r\nX: \xff\r\nX: 2\r\n\r\nbody";

  it("prepends in the order given, appends below, replaces in place and removes by predicate", () => {
    const block = readHeaderBlock(bytes(mail));
    block.prepend(foldField("A", "1"), foldField("B", "2"));
    block.append(foldField("C", "3"));
    const newSubject = foldField("Subject", "New");
    expect(block.rewrite(({ name }) => (name === "subject" ? newSubject : undefined))).toBe(1);
    expect(block.removeWhere((field) => unfoldedBody(field) === "2" && field.name === "x")).toBe(1);
    expect(text(block.build())).toBe(
      "A: 1\r\nB: 2\r\nReceived: r\r\nSubject: New\r\nX: \xff\r\nC: 3\r\n\r\n",
    );
  });

  it("is unchanged by an edit that finds nothing", () => {
    const block = readHeaderBlock(bytes(mail));
    block.removeWhere(() => false);
    block.rewrite(() => undefined);
    block.prepend();
    expect(block.changed).toBe(false);
  });

  it("lets no folded first line become a part of what is prepended", () => {
    const block = readHeaderBlock(bytes(" stray: x\r\nA: 1\r\n\r\n"));
    block.prepend(foldField("X-Spam-Status", "Yes"));
    expect(text(block.build())).toBe(" stray: x\r\nX-Spam-Status: Yes\r\nA: 1\r\n\r\n");
  });

  it("closes a header that the mail ends with, and only that", () => {
    const open = readHeaderBlock(bytes("A: 1\r\n"));
    open.closeHeader();
    expect(text(open.build())).toBe("A: 1\r\n\r\n");
    const closed = readHeaderBlock(bytes("A: 1\r\n\r\n"));
    closed.closeHeader();
    expect(closed.changed).toBe(false);
  });

  it("refuses bytes that are not one whole field", () => {
    const block = readHeaderBlock(bytes(mail));
    for (const wrong of [
      "",
      "A: 1",
      "A: 1\r\nB: 2\r\n",
      "no field\r\n",
      "A: 1\r\n\r\n",
      " a: b\r\n\r\n",
    ]) {
      expect(() => block.prepend(bytes(wrong)), wrong).toThrow("one whole field");
    }
  });

  it("returns any bytes that no edit touches, and never another body (property)", () => {
    const line = fc.oneof(
      fc.constantFrom(
        "A: 1\r\n",
        " fold\r\n",
        "junk\r\n",
        "X-Spam: y\r\n",
        "\r\n",
        ":\r\n",
        "B :\t\r\n",
      ),
      fc.uint8Array({ maxLength: 30 }).map((data) => text(Buffer.from(data))),
    );
    const mails = fc
      .array(line, { maxLength: 12 })
      .map((lines) => canonicalize(bytes(lines.join(""))));
    fc.assert(
      fc.property(mails, (raw) => {
        const untouched = readHeaderBlock(raw);
        const { restOffset } = untouched;
        expect(Buffer.concat([untouched.build(), raw.subarray(restOffset)]).equals(raw)).toBe(true);

        const block = readHeaderBlock(raw);
        const kept = block.fields.filter(({ name }) => name !== "x-spam").map(fieldBytes);
        block.removeWhere(({ name }) => name === "x-spam");
        block.prepend(foldField("First", "1"));
        block.append(foldField("Last", "2"));
        const whole = Buffer.concat([block.build(), raw.subarray(restOffset)]);
        const again = readHeaderBlock(whole);
        const stray = kept.findIndex((field) => field[0] !== 0x20 && field[0] !== 0x09);
        kept.splice(stray < 0 ? kept.length : stray, 0, bytes("First: 1\r\n"));
        const expected = Buffer.concat([...kept, bytes("Last: 2\r\n")]);
        expect(text(whole.subarray(0, expected.length))).toBe(text(expected));
        expect(sha256(whole.subarray(again.restOffset))).toBe(sha256(raw.subarray(restOffset)));
      }),
      { numRuns: 2_000 },
    );
  });
});

describe("foldField", () => {
  it("folds at blanks within 78 characters", () => {
    const folded = text(foldField("X-Long", "word ".repeat(60)));
    expect(folded.split("\r\n").every((line) => line.length <= 78)).toBe(true);
    expect(folded.replaceAll("\r\n", "")).toBe("X-Long: " + "word ".repeat(60).trim());
  });

  it("folds after a given mark", () => {
    const tests = Array.from({ length: 40 }, (_, index) => `RULE_NUMBER_${index}`).join(",");
    const folded = text(foldField("X-Spam-Status", `Yes, tests=${tests}`, ","));
    expect(folded.split("\r\n").every((line) => line.length <= 78)).toBe(true);
    expect(folded.replaceAll(/\r\n\t|\r\n$/g, "")).toBe(`X-Spam-Status: Yes, tests=${tests}`);
  });

  it("makes no line longer than 998 characters and lets no value add a field (property)", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 3_000 }), (value) => {
        const field = foldField("X-Any", value, ",");
        expect(
          text(field)
            .split("\r\n")
            .every((line) => line.length <= 998),
        ).toBe(true);
        const { fields } = readHeaderBlock(field);
        expect(fields.map(({ name }) => name)).toEqual(["x-any"]);
        expect(fields[0]?.end).toBe(field.length);
      }),
    );
    expect(text(foldField("X", "a".repeat(3_000))).split("\r\n").length).toBe(6);
  });

  it("writes non-ASCII text as encoded words", () => {
    expect(encodedText("Grüße")).toBe("=?UTF-8?Q?Gr=C3=BC=C3=9Fe?=");
    expect(encodedText("a\r\nBcc: b")).toBe("a  Bcc: b");
  });
});
