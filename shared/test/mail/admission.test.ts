import { describe, expect, it } from "vitest";
import { maxHeaderBytes, maxHeaderFields, objectionTo } from "../../src/mail/admission.ts";
import { receivedField } from "../../src/mail/received.ts";

const ownName = "mx.example";
const own = receivedField({
  client: { address: "", name: "", helo: "" },
  by: ownName,
  protocol: "SMTP",
  mailId: "a",
  at: new Date(0),
}).toString();
const judged = (text: string): string | undefined => {
  const limits = { hostname: ownName, maxMailBytes: 50_000_000 };
  const { status, text: why } = objectionTo(Buffer.from(text, "latin1"), limits) ?? {};
  return status === undefined ? undefined : `${status} ${why ?? ""}`;
};

const tooManyFields = `5.3.4 the header has more than ${maxHeaderFields} fields`;
const tooLarge = `5.3.4 the header is larger than ${maxHeaderBytes} bytes`;

describe("objectionTo", () => {
  it("counts the header's fields, and none of the body", () => {
    const most = "X: y\r\n".repeat(maxHeaderFields);
    expect(judged(most)).toBeUndefined();
    expect(judged(`${most}\r\n${most}`)).toBeUndefined();
    expect(judged(`${most}X: y\r\n`)).toBe(tooManyFields);
    expect(judged(`${most}no field\r\n`)).toBe(tooManyFields);
  });

  it("counts a folded field once, and all of its bytes", () => {
    const folded = `X: y\r\n${" z\r\n".repeat(maxHeaderFields)}`;
    expect(judged(folded)).toBeUndefined();
    expect(judged(`X: y\r\n${" z\r\n".repeat(maxHeaderBytes / 4)}`)).toBe(tooLarge);
  });

  it("measures the header to its last field's end", () => {
    const most = `X: ${"y".repeat(maxHeaderBytes - 5)}\r\n`;
    expect(judged(`${most}\r\nbody\r\n`)).toBeUndefined();
    expect(judged(`${most}A: b\r\n\r\nbody\r\n`)).toBe(tooLarge);
    expect(judged("y".repeat(maxHeaderBytes + 1))).toBe(tooLarge);
  });

  it("names the loop before it has counted to the end", () => {
    const loop = "5.4.6 mail loop: more than 100 Received fields";
    expect(judged("Received: x\r\n".repeat(100_000))).toBe(loop);
    expect(judged(own.repeat(5))).toBe("5.4.6 mail loop: it has passed here 5 times already");
    expect(judged(own.repeat(4))).toBeUndefined();
  });

  it("finds no header if the mail begins with a blank", () => {
    expect(judged(` ${"X: y\r\n".repeat(maxHeaderFields + 1)}`)).toBeUndefined();
  });
});
