import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { addressesIn, headerSummary, parsedAddresses } from "../../src/mail/header-summary.ts";
import { countCpu } from "../../../test/support/cpu-time.ts";

const summaryOf = (header: string) =>
  headerSummary(Buffer.from(`${header.replaceAll("\n", "\r\n")}\r\n\r\nFrom: body@x.example\r\n`));

describe("headerSummary", () => {
  it("reads Message-ID, From and its domain", () => {
    expect(summaryOf("Message-ID: <1@a.example>\nFrom: Anna <anna@A.Example>")).toEqual({
      messageId: "<1@a.example>",
      from: "Anna <anna@A.Example>",
      fromDomain: "a.example",
      fromAddresses: ["anna@A.Example"],
    });
  });

  it("joins folded lines and ignores the case of names", () => {
    expect(summaryOf("FROM: Anna\n <anna@a.example>\nMessage-Id:\n\t<2@a.example>")).toEqual({
      messageId: "<2@a.example>",
      from: "Anna <anna@a.example>",
      fromDomain: "a.example",
      fromAddresses: ["anna@a.example"],
    });
  });

  it("decodes encoded words for show only after the addresses were parsed", () => {
    const name = Buffer.from("x@evil.example, Zoë").toString("base64");
    const summary = summaryOf(`From: =?utf-8?B?${name}?= <zoe@a.example>`);
    expect(summary).toEqual({
      from: "x@evil.example, Zoë <zoe@a.example>",
      fromDomain: "a.example",
      fromAddresses: ["zoe@a.example"],
    });
  });

  it("reads the first Subject for a person: decoded, on one line, cut to 256 characters", () => {
    const words = `=?utf-8?Q?Gr=C3=BC=C3=9Fe?=\n =?utf-8?Q?_aus_K=C3=B6ln?=`;
    expect(summaryOf(`Subject: ${words}\nSubject: other`).subject).toBe("Grüße aus Köln");
    expect(summaryOf("Subject: plain =? not encoded").subject).toBe("plain =? not encoded");
    expect(summaryOf(`Subject: ${"x".repeat(2_000)}`).subject).toHaveLength(256);
    expect(summaryOf("Subject:")).toEqual({});
  });

  it.each([
    ["two From fields", "From: a@a.example\nFrom: b@a.example"],
    ["authors in two domains", "From: a@a.example, b@b.example"],
    ["no address", "From: nobody"],
    ["an empty group", "From: undisclosed:;"],
    ["no From", "Subject: x"],
    ["a domain longer than allowed", `From: a@${"a.".repeat(130)}example`],
    ["a domain whose ASCII form is longer than allowed", `From: a@${"ü.".repeat(60)}example`],
    ["a From longer than any honest one", `From: ${"a@a.example, ".repeat(2000)}x@b.example`],
  ])("names no From domain for %s", (_case, header) => {
    expect(summaryOf(header).fromDomain).toBeUndefined();
  });

  it("names the domain of several authors who share it", () => {
    expect(summaryOf("From: a@a.example, b@A.example").fromDomain).toBe("a.example");
  });

  it("names the addresses of one From field, whatever their domains are", () => {
    const { fromDomain, fromAddresses } = summaryOf("From: team: a@a.example, B <b@b.example>;");
    expect([fromDomain, fromAddresses]).toEqual([undefined, ["a@a.example", "b@b.example"]]);
  });

  it.each([
    ["two From fields", "From: a@a.example\nFrom: b@a.example"],
    [
      "eleven authors",
      `From: ${Array.from({ length: 11 }, (_, at) => `a${at}@a.example`).join(", ")}`,
    ],
    ["an address longer than allowed", `From: ${"a".repeat(320)}@a.example`],
    ["no From", "Subject: x"],
  ])("names no addresses for %s", (_case, header) => {
    expect(summaryOf(header).fromAddresses).toBeUndefined();
  });

  it("writes a domain with non-ASCII labels in its ASCII form", () => {
    expect(summaryOf("From: Jürgen <j@münchen.example>")).toEqual({
      from: "Jürgen <j@münchen.example>",
      fromDomain: "xn--mnchen-3ya.example",
      fromAddresses: ["j@münchen.example"],
    });
  });

  it("reads 8-bit headers that are not UTF-8 as Latin-1", () => {
    const raw = Buffer.from("From: J\xfcrgen <j@a.example>\r\n\r\n", "latin1");
    expect(headerSummary(raw).from).toBe("Jürgen <j@a.example>");
  });

  it("never throws and keeps within its bounds, whatever the bytes are", () => {
    const part = fc.oneof(
      fc.constantFrom(
        "From:",
        "Message-ID:",
        "\r\n",
        "\n",
        " ",
        "<",
        ">",
        '"',
        "(",
        "=?utf-8?q?",
        "=00?=",
        "?=",
      ),
      fc.string({ unit: "binary", maxLength: 20 }),
    );
    fc.assert(
      fc.property(fc.array(part, { maxLength: 200 }), (parts) => {
        const summary = headerSummary(Buffer.from(parts.join(""), "latin1"));
        for (const text of [summary.from, summary.messageId]) {
          expect(text?.length ?? 0).toBeLessThanOrEqual(998);
          expect(text?.isWellFormed() ?? true).toBe(true);
        }
      }),
    );
  });

  it.each(["a\n", "\n ", "a: b\n", "From: a@b\n", "From:", "<", '"', "(", "a@b,", "\\"])(
    "takes bounded time for a 10 MB header of %j",
    (unit) => {
      const raw = Buffer.alloc(10_000_000, unit);
      raw.write("From: ");
      const cpuMs = countCpu();
      headerSummary(raw);
      expect(cpuMs()).toBeLessThan(5_000);
    },
  );

  it("finds the addresses of a From the same in its quick and in its slow way", () => {
    const atoms = Array.from("aZ09_!#$%&'*+/=?^`{|}~.-");
    const specials = Array.from(' <>"@,.;:()[]\\\t\u00e4\u00a0');
    const word = fc.oneof(
      { weight: 6, arbitrary: fc.string({ unit: fc.constantFrom(...atoms), maxLength: 6 }) },
      { weight: 4, arbitrary: fc.constantFrom("a@b.example", "<a.b@b.example>", "=?utf-8?Q?a?=") },
      { weight: 4, arbitrary: fc.constantFrom(...specials) },
    );
    const anything = fc.array(word, { maxLength: 12 }).map((words) => words.join(""));
    const name = fc.string({ unit: fc.constantFrom(...atoms, " ", ","), maxLength: 12 });
    const address = fc.tuple(
      fc.string({ unit: fc.constantFrom(...atoms), minLength: 1, maxLength: 8 }),
      fc.string({ unit: fc.constantFrom("a", "B", "0", "-", "."), minLength: 1, maxLength: 8 }),
    );
    const author = fc
      .tuple(name, address, fc.constantFrom("bare", "quoted", "alone", "brackets", "half"))
      .map(([shown, [local, domain], form]) => {
        if (form === "alone") return `${local}@${domain}`;
        if (form === "brackets") return `<${local}@${domain}>`;
        if (form === "half") return `${shown} ${local}@${domain}>`;
        return `${form === "quoted" ? `"${shown}"` : shown} <${local}@${domain}>`;
      });
    fc.assert(
      fc.property(fc.oneof(anything, author), (from) => {
        expect(addressesIn(from)).toEqual(parsedAddresses(from));
      }),
      { numRuns: 20_000 },
    );
  });
});
