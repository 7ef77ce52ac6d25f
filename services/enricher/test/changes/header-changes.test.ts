import libmime from "libmime";
import { describe, expect, it } from "vitest";
import { authservIdOf } from "../../src/changes/strip.ts";
import { enriched, mailOf, plainMail, spamVerdict, virusVerdict } from "../mail-to-enrich.ts";

const body = "Dear Bob,\r\n\r\nyours, Alice\r\n";
const scored = (score: number, names: string[] = []) => ({
  score,
  required: 9,
  rules: names.map((name) => ({ name })),
});

describe("strip", () => {
  it("removes what outsiders must not forge and leaves every other byte", async () => {
    const raw = mailOf(
      "X-Spam-Flag: NO",
      "x-spam-status : No, score=-100",
      "\ttests=TRUSTED",
      "X-Virus-Status: Clean",
      "X-RadicalSpam: forged",
      "X-RadicalSpam-Anything: forged",
      "X-Relay-Countries: **",
      "X-Spam-Level",
      " : folded from its colon",
      "Authentication-Results: mx.tenant.example; spf=pass",
      "Authentication-Results: (a (nested) comment) MX.Tenant.EXAMPLE 1; dkim=pass",
      'Authentication-Results: "mx.tenant.example"; dkim=pass',
      "Authentication-Results: mx.other.example; spf=pass",
      "X-Spammer: stays",
      "Subject: \xfc  spaced\t",
      "",
      "X-Spam-Flag: in the body",
    );
    const { text, bodyChanged } = await enriched(raw, [{ kind: "strip" }]);
    expect(text).toBe(
      "Authentication-Results: mx.other.example; spf=pass\r\n" +
        "X-Spammer: stays\r\nSubject: \xfc  spaced\t\r\n\r\nX-Spam-Flag: in the body\r\n",
    );
    expect(bodyChanged).toBe(false);
  });

  it.each([
    [" mx.example; spf=pass", "mx.example"],
    ["\r\n\tMX.example 1;", "mx.example"],
    [' "mx\\.example" ;', "mx.example"],
    [" (c \\) (d)) mx.example(c);", "mx.example"],
    [" (unclosed mx.example", ""],
    ["", ""],
  ])("reads the authserv-id of %j", (field, id) => {
    expect(authservIdOf(Buffer.from(field))).toBe(id);
  });
});

describe("verdict-headers", () => {
  const headers = async (verdicts: Parameters<typeof enriched>[2]) => {
    const { text } = await enriched(plainMail, [{ kind: "verdict-headers" }], verdicts);
    return text
      .slice(0, text.indexOf("Received:"))
      .replace(/\r\n(?=[ \t])/g, "")
      .replace(/\t/g, "")
      .split("\r\n");
  };

  it("says which engine and signatures found nothing", async () => {
    expect(await headers({ verdicts: virusVerdict({ kind: "clean" }) })).toEqual([
      "X-RadicalSpam: 0123456789abcdefghij",
      "X-Virus-Scanned: clamd 1.4.3 (signatures 27500 of 2026-05-30)",
      "X-Virus-Status: Clean",
      "",
    ]);
  });

  it("names a virus whose release a person ordered, and cannot be made to write another field", async () => {
    const finding = { kind: "infected" as const, names: ["Eicar\r\nBcc: x", "B) \xe4"] };
    expect(await headers({ verdicts: virusVerdict(finding) })).toContain(
      "X-Virus-Status: Infected (Eicar Bcc: x, B_ =?UTF-8?Q?=C3=A4=29?=",
    );
  });

  it.each([
    ["Odd: name; OK", "Infected (Odd: name; OK)"],
    ["Wurm.Bäcker-蠕虫", "Infected (Wurm.Bäcker-蠕虫)"],
    ["=?utf-8?Q?a=0Ab?=", "Infected (=_utf-8?Q?a=0Ab?=)"],
    ["\u202eexe.\x1b[31m\u009b", "Infected (exe. [31m)"],
    ["\u0000\u200b", "Infected (unnamed)"],
    ["🐛".repeat(128), `Infected (${"🐛".repeat(128)})`],
  ])("tells a reader the name %j, in ASCII lines that no reader mistakes", async (name, told) => {
    const verdicts = { verdicts: virusVerdict({ kind: "infected", names: [name] }) };
    const { text } = await enriched(plainMail, [{ kind: "verdict-headers" }], verdicts);
    const header = text.slice(0, text.indexOf("Received:"));
    expect(header).toMatch(/^[\x20-\x7e\r\n\t]*$/);
    expect(header.split("\r\n").filter((line) => line.length > 998)).toEqual([]);
    const [, status = ""] = /^X-Virus-Status: (.*)$/m.exec(header.replace(/\r\n[ \t]/g, " ")) ?? [];
    expect(libmime.decodeWords(status.trim())).toBe(told);
  });

  it("marks checks that gave no verdict, never as clean (I2)", async () => {
    const verdicts = {
      ...virusVerdict({ kind: "unchecked", reason: "encrypted" }),
      ...spamVerdict({ kind: "unchecked", reason: "too-large" }),
    };
    expect(await headers({ verdicts })).toEqual([
      "X-RadicalSpam: 0123456789abcdefghij",
      "X-Virus-Status: Unchecked (encrypted)",
      "X-Spam-Status: Unchecked (too-large)",
      "",
    ]);
  });

  it("says for what the engine was blind", async () => {
    const verdicts = virusVerdict({ kind: "clean" }, { blind: ["encrypted", "limit"] });
    expect(await headers({ verdicts })).toContain(
      "X-Virus-Status: Clean (blind: encrypted, limit)",
    );
  });

  it("writes SpamAssassin's fields with the policy's threshold", async () => {
    const verdicts = spamVerdict({ kind: "ham", ...scored(7.25, ["GTUBE", "BAYES_99"]) });
    expect(await headers({ verdicts })).toEqual([
      "X-RadicalSpam: 0123456789abcdefghij",
      "X-Spam-Flag: YES",
      "X-Spam-Status: Yes, score=7.3 required=5.0 tests=BAYES_99,GTUBE autolearn=unavailable version=4.0.1",
      "X-Spam-Score: 7.3",
      "X-Spam-Level: *******",
      "",
    ]);
  });

  it("sets no flag below the threshold and no stars below one", async () => {
    const verdicts = spamVerdict({ kind: "spam", ...scored(-0.04) });
    expect(await headers({ verdicts })).toEqual([
      "X-RadicalSpam: 0123456789abcdefghij",
      "X-Spam-Status: No, score=-0.0 required=5.0 tests=none autolearn=unavailable version=4.0.1",
      "X-Spam-Score: -0.0",
      "",
    ]);
  });

  it("never shows a score below the threshold as one that reaches it", async () => {
    const verdicts = spamVerdict({ kind: "ham", ...scored(4.97) });
    expect(await headers({ verdicts })).toContain("X-Spam-Score: 4.9");
  });

  it("writes at most fifty stars and folds a long list of tests", async () => {
    const names = Array.from({ length: 300 }, (_, index) => `A_RULE_WITH_A_NAME_${index}`);
    const verdicts = spamVerdict({ kind: "spam", ...scored(1234, names) });
    const { text } = await enriched(plainMail, [{ kind: "verdict-headers" }], { verdicts });
    expect(text).toMatch(/X-Spam-Level: \*{50}\r\n/);
    expect(text.split("\r\n").every((line) => line.length <= 78)).toBe(true);
    expect(text.endsWith(body)).toBe(true);
  });
});

describe("extra-headers and geoip", () => {
  it("adds the policy's fields in its order, with non-ASCII text encoded", async () => {
    const headers = [
      { name: "X-One", value: "1" },
      { name: "X-Two", value: "Größe" },
    ];
    const { text } = await enriched(plainMail, [{ kind: "extra-headers", headers }]);
    expect(text).toMatch(/^X-One: 1\r\nX-Two: =\?UTF-8\?Q\?Gr=C3=B6=C3=9Fe\?=\r\nReceived:/);
  });

  it("writes the country of the client", async () => {
    const countries = { of: (address: string) => `[${address}]`, close: () => undefined };
    const { text } = await enriched(plainMail, [{ kind: "geoip" }], {}, { countries });
    expect(text).toMatch(/^X-Relay-Countries: \[8\.8\.8\.8\]\r\n/);
  });
});

describe("subject-tag", () => {
  const tagged = async (subject: string[], tag = "[SPAM]") => {
    const raw = mailOf("From: a@b", ...subject, "", "body");
    const verdicts = spamVerdict({ kind: "spam", score: 9, required: 5, rules: [] });
    const more = { verdicts, disposition: "tag" } as const;
    const { text } = await enriched(raw, [{ kind: "subject-tag", tag }], more);
    return text.slice("From: a@b\r\n".length, text.indexOf("\r\n\r\n")).split("\r\n");
  };

  it.each([
    ["a plain subject", ["Subject: Hello"], ["Subject: [SPAM] Hello"]],
    ["one without a blank", ["SUBJECT:Hello"], ["SUBJECT: [SPAM] Hello"]],
    ["an empty one", ["Subject:"], ["Subject: [SPAM]"]],
    ["a missing one", [], ["Subject: [SPAM]"]],
    ["8-bit octets", ["Subject: gr\xfc\xdfe"], ["Subject: [SPAM] gr\xfc\xdfe"]],
    ["two fields", ["Subject: a", "Subject: b"], ["Subject: [SPAM] a", "Subject: [SPAM] b"]],
    ["a folded one", ["Subject:", "\tHello"], ["Subject: [SPAM]", "\tHello"]],
    [
      "encoded words, untouched",
      ["Subject: =?iso-8859-1?Q?Gr=FC=DFe?=", " =?utf-8?B?w6TDtg==?="],
      ["Subject: [SPAM] =?iso-8859-1?Q?Gr=FC=DFe?=", " =?utf-8?B?w6TDtg==?="],
    ],
    [
      "a long one, on a line of its own",
      [`Subject: ${"word ".repeat(13)}end`],
      ["Subject: [SPAM]", ` ${"word ".repeat(13)}end`],
    ],
  ])("tags %s", async (_, subject, expected) => {
    expect(await tagged(subject)).toEqual(expected);
  });

  it.each([
    ["plain", "Re: [SPAM] Hello"],
    ["in an encoded word", "=?utf-8?Q?=5BSPAM=5D_Gr=C3=BC=C3=9Fe?="],
    ["split over encoded words", "=?utf-8?Q?=5BSP?= =?utf-8?Q?AM=5D_x?="],
  ])("never doubles a tag that is there %s", async (_, subject) => {
    expect(await tagged([`Subject: ${subject}`])).toEqual([`Subject: ${subject}`]);
  });

  it("keeps the blank between a tag that must be encoded and an encoded subject", async () => {
    expect(await tagged(["Subject: =?utf-8?Q?=C3=A4?="], "[wärn]")).toEqual([
      "Subject: =?UTF-8?Q?=5Bw=C3=A4rn=5D=20?= =?utf-8?Q?=C3=A4?=",
    ]);
  });

  it("tags spam that policy tags: not what it delivers, nor what passes unchecked", async () => {
    const spam = spamVerdict({ kind: "ham", score: 5, required: 9, rules: [] });
    const ham = spamVerdict({ kind: "spam", score: 4.9, required: 1, rules: [] });
    const isTagged = async (more: Parameters<typeof enriched>[2]) =>
      (await enriched(plainMail, [{ kind: "subject-tag", tag: "TAG" }], more)).text.includes("TAG");
    expect(await isTagged({ verdicts: spam })).toBe(true);
    expect(await isTagged({ verdicts: ham })).toBe(false);
    expect(await isTagged({ verdicts: spam, disposition: "deliver" })).toBe(false);
    expect(await isTagged({ verdicts: spam, disposition: "tag" })).toBe(true);
    // Something else made it `tag`: a check that passes unchecked, marked only in the headers.
    expect(await isTagged({ verdicts: ham, disposition: "tag" })).toBe(false);
    const unchecked = spamVerdict({ kind: "unchecked", reason: "too-large" });
    expect(await isTagged({ verdicts: unchecked, disposition: "tag" })).toBe(false);
  });
});
