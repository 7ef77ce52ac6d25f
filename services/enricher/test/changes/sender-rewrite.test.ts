import fc from "fast-check";
import addressparser from "nodemailer/lib/addressparser";
import { describe, expect, it } from "vitest";
import { enriched, mailOf, plainMail } from "../mail-to-enrich.ts";

describe("sender-rewrite", () => {
  const map: Record<string, string> = {
    "alice@tenant.example": "a@new.example",
    "@tenant.example": "all@new.example",
  };
  const smtp = (mailFrom: string) => ({
    smtp: { mailFrom, rcptTo: [], client: { address: "", name: "", helo: "" } },
  });
  const rewritten = async (...fields: string[]) => {
    const { text } = await enriched(mailOf(...fields, "", "x"), [{ kind: "sender-rewrite", map }]);
    return text.slice(0, text.indexOf("\r\n\r\n")).split("\r\n");
  };

  it.each([
    ["From: Alice <ALICE@Tenant.example>", "From: Alice <a@new.example>"],
    ["From: bob@tenant.example", "From: all@new.example"],
    ['from: "Doe, Alice" <alice@tenant.example>', 'from: "Doe, Alice" <a@new.example>'],
    ["Sender: <alice@tenant.example>", "Sender: <a@new.example>"],
    [
      "From: =?utf-8?Q?B=2C_C_=3Cx=40y=3E?= <alice@tenant.example>",
      "From: =?utf-8?Q?B=2C_C_=3Cx=40y=3E?= <a@new.example>",
    ],
    ["From: Voil\xc3\xa0 <alice@tenant.example>", "From: Voil\xc3\xa0 <a@new.example>"],
    ["From: J\xf6rg <alice@tenant.example>", "From: J\xf6rg <a@new.example>"],
    ["From: x@other.example, alice@tenant.example", "From: x@other.example, a@new.example"],
    ["From: team: alice@tenant.example;", "From: team: a@new.example;"],
    ["From: Alice (Sales, EU) <alice@tenant.example>", "From: Alice (Sales, EU) <a@new.example>"],
    ["From: alice@tenant.example (Alice)", "From: a@new.example (Alice)"],
    [
      "From: (a \\) <b@tenant.example>, (c)) Alice <alice@tenant.example (home)>",
      "From: (a \\) <b@tenant.example>, (c)) Alice <a@new.example (home)>",
    ],
    [
      "From: alice(the one)@tenant.example, x@other.example",
      "From: a@new.example (the one), x@other.example",
    ],
    [
      'From: "x <alice@tenant.example>, \\"" <bob@tenant.example>',
      'From: "x <alice@tenant.example>, \\"" <all@new.example>',
    ],
    ['From: "a@b (c"@tenant.example', "From: all@new.example"],
    ["From: Alice alice@tenant.example", "From: Alice a@new.example"],
    ["From: alice @ tenant . example", "From: a@new.example"],
    ["From : <@hop.example:alice@tenant.example>", "From: <a@new.example>"],
    ['From: "a@tenant.example"  <x@other.example>', 'From: "a@tenant.example"  <x@other.example>'],
    ["Reply-To: alice@tenant.example", "Reply-To: alice@tenant.example"],
  ])("makes %j %j", async (before, after) => {
    expect(await rewritten(before)).toEqual([after]);
  });

  it("keeps the folds of a field", async () => {
    const fields = ["From: Alice", "\t(Sales,", "\tEU) <alice@tenant.example>"];
    expect(await rewritten(...fields)).toEqual([...fields.slice(0, 2), "\tEU) <a@new.example>"]);
  });

  it("makes no line longer than SMTP takes", async () => {
    const near = await rewritten(`Sender: ${"x ".repeat(480)}<a@tenant.example>`);
    expect(near.every((line) => line.length <= 998)).toBe(true);
    expect(near.join("")).toContain("<all@new.example>");
  });

  it("writes exactly the mailboxes of the map, whatever stands around them (property)", async () => {
    const text = fc.constantFrom(
      "Ann",
      "(Sales, EU)",
      '"q, <r@s>; \\" ("',
      "(a (b) \\) c)",
      "=?utf-8?q?=2C?=",
      "\r\n\t",
      "\xf6",
    );
    const address = fc.constantFrom(
      "alice@tenant.example",
      "bob@tenant.example",
      "c@other.example",
      '"d, e"@tenant.example',
      "f@[192.0.2.1]",
    );
    const mailbox = fc
      .tuple(
        fc.array(text, { maxLength: 3 }),
        address,
        fc.boolean(),
        fc.array(text, { maxLength: 2 }),
      )
      .map(([before, of, isBare, behind]) => {
        const comments = behind.filter((one) => one.startsWith("(")).join(" ");
        return isBare ? `${of} ${comments}` : `${before.join(" ")} <${of}> ${comments}`;
      });
    const mailboxes = (field: string) => addressparser(field, { flatten: true });
    await fc.assert(
      fc.asyncProperty(fc.array(mailbox, { minLength: 1, maxLength: 4 }), async (list) => {
        const before = list.join(",");
        const [first = "", ...more] = await rewritten(`From: ${before}`);
        const after = [first.slice("From:".length), ...more].join("\r\n");
        const mapped = mailboxes(before).map(({ address: one, name }) => ({
          address: map[one] ?? one.replace(/.*@tenant\.example$/, "all@new.example"),
          name,
        }));
        expect(mailboxes(after)).toEqual(mapped);
        expect(after.match(/\(Sales, EU\)/g)).toEqual(before.match(/\(Sales, EU\)/g));
      }),
    );
  });

  it("rewrites the SMTP sender by the same map, the whole address first", async () => {
    const mailFrom = async (address: string) =>
      (await enriched(plainMail, [{ kind: "sender-rewrite", map }], smtp(address))).mailFrom;
    expect(await mailFrom("Alice@tenant.example")).toBe("a@new.example");
    expect(await mailFrom("bob@tenant.example")).toBe("all@new.example");
    expect(await mailFrom("x@other.example")).toBeUndefined();
  });

  it("leaves the null sender null", async () => {
    const change = { kind: "sender-rewrite" as const, map: { ...map, "": "x@y.example" } };
    expect((await enriched(plainMail, [change], smtp(""))).mailFrom).toBeUndefined();
  });

  it("holds the mail if the map leads to no address", async () => {
    const change = { kind: "sender-rewrite" as const, map: { "@tenant.example": "a@b>\r\nX: y" } };
    await expect(enriched(plainMail, [change])).rejects.toThrow("is not an address");
  });
});
