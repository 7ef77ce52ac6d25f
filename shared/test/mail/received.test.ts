import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { headerFields } from "../../src/mail/header-fields.ts";
import {
  inspectTrace,
  isLoop,
  loopIn,
  receivedBefore,
  receivedField,
} from "../../src/mail/received.ts";

const at = new Date("2027-03-05T06:07:08Z");
const client = { address: "192.0.2.7", name: "mx.example.org", helo: "mail.example.org" };
const handover = { client, by: "in.example.net", protocol: "ESMTP", mailId: "abc123", at } as const;

describe("receivedField", () => {
  it("follows the grammar of RFC 5321 §4.4", () => {
    expect(receivedField(handover).toString()).toBe(
      "Received: from mail.example.org (mx.example.org [192.0.2.7])\r\n" +
        "\tby in.example.net (rs-agent) with ESMTP id abc123;\r\n" +
        "\tFri, 05 Mar 2027 06:07:08 +0000\r\n",
    );
  });

  it("names the recipient if there is one", () => {
    const field = receivedField({ ...handover, forRecipient: "anna@example.net" }).toString();
    expect(field).toContain(" id abc123\r\n\tfor <anna@example.net>;\r\n");
  });

  it("keeps the blanks of a quoted recipient, and nothing that could end the path", () => {
    const forOf = (forRecipient: string) =>
      /\tfor (.*);\r\n/.exec(receivedField({ ...handover, forRecipient }).toString())?.[1];
    expect(forOf('"odd user"@example.net')).toBe('<"odd user"@example.net>');
    expect(forOf('"a>\r\n b"@example.net')).toBe('<"a??? b"@example.net>');
    expect(forOf("odd user@example.net")).toBe("<odd?user@example.net>");
  });

  it.each([
    ["Subject: x\r\n", ""],
    ["", ""],
    ["\r\n body", ""],
    [" by evil.example\r\n", "\r\n"],
    ["\t\r\n", "\r\n"],
  ])("before %j ends with %j more than its own line end", (raw, more) => {
    const field = receivedField(handover).toString();
    expect(receivedBefore(Buffer.from(raw), handover).toString()).toBe(field + more);
  });

  it.each([
    ["2001:db8::1", "[IPv6:2001:db8::1]"],
    ["::ffff:192.0.2.7", "[192.0.2.7]"],
  ])("writes the client address %s as the literal %s", (address, literal) => {
    const field = receivedField({ ...handover, client: { address, name: "", helo: "x" } });
    expect(field.toString()).toContain(`from x (unknown ${literal})\r\n`);
  });

  it("writes an unknown client without an address", () => {
    const field = receivedField({ ...handover, client: { address: "", name: "", helo: "" } });
    expect(field.toString()).toMatch(/^Received: from unknown\r\n\tby /);
  });

  it("stays one well-formed field whatever the client calls itself", () => {
    const anything = fc.string({ unit: "binary", maxLength: 400 });
    fc.assert(
      fc.property(anything, anything, anything, (helo, name, forRecipient) => {
        const hostile = { ...handover, client: { ...client, helo, name }, forRecipient };
        const field = receivedField(hostile);
        const found = [...headerFields(Buffer.concat([field, Buffer.from("\r\nbody")]))];
        expect(found).toHaveLength(1);
        expect(found[0]).toMatchObject({ name: "received", end: field.length });
        for (const line of field.toString("latin1").split("\r\n")) {
          expect(line).toMatch(/^[\t\x20-\x7e]{0,998}$/);
        }
        expect(inspectTrace(field, "in.example.net").ownIds).toEqual(["abc123"]);
      }),
    );
  });
});

describe("inspectTrace", () => {
  const foreign = "Received: from a by b with SMTP id 1;\r\n\tFri, 05 Mar 2027 06:07:08 +0000\r\n";
  const rest = "Subject: x\r\n\r\nReceived: in the body\r\n";
  const inspect = (header: string) => inspectTrace(Buffer.from(header + rest), "IN.example.net");

  it("counts the header's Received fields and none in the body", () => {
    expect(inspect(foreign.repeat(3))).toEqual({ receivedCount: 3, ownIds: [] });
  });

  it("finds the ids that we gave, whatever the case of our name", () => {
    const own = receivedField(handover).toString();
    expect(inspect(own + foreign)).toEqual({ receivedCount: 2, ownIds: ["abc123"] });
  });

  it("calls it a loop when a mail carries more than 100 Received, or our own five times", () => {
    const own = receivedField(handover).toString();
    expect(isLoop(inspect(foreign.repeat(100)))).toBe(false);
    expect(loopIn(inspect(foreign.repeat(101)))).toBe("more than 100 Received fields");
    expect(isLoop(inspect((own + foreign).repeat(4)))).toBe(false);
    expect(loopIn(inspect((own + foreign).repeat(5)))).toBe("it has passed here 5 times already");
  });

  it("does not take another host's field for ours", () => {
    const other = receivedField({ ...handover, by: "in.example.net.evil.example" }).toString();
    expect(inspect(other).ownIds).toEqual([]);
  });
});
