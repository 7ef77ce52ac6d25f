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
const judged = (text: string) => objectionTo(Buffer.from(text, "latin1"), ownName);

describe("objectionTo", () => {
  it("counts the header's fields, and none of the body", () => {
    const most = "X: y\r\n".repeat(maxHeaderFields);
    expect(judged(most)).toBeUndefined();
    expect(judged(`${most}\r\n${most}`)).toBeUndefined();
    expect(judged(`${most}X: y\r\n`)).toEqual({ kind: "header-fields" });
    expect(judged(`${most}no field\r\n`)).toEqual({ kind: "header-fields" });
  });

  it("counts a folded field once, and all of its bytes", () => {
    const folded = `X: y\r\n${" z\r\n".repeat(maxHeaderFields)}`;
    expect(judged(folded)).toBeUndefined();
    expect(judged(`X: y\r\n${" z\r\n".repeat(maxHeaderBytes / 4)}`)).toEqual({
      kind: "header-bytes",
    });
  });

  it("measures the header to its last field's end", () => {
    const most = `X: ${"y".repeat(maxHeaderBytes - 5)}\r\n`;
    expect(judged(`${most}\r\nbody\r\n`)).toBeUndefined();
    expect(judged(`${most}A: b\r\n\r\nbody\r\n`)).toEqual({ kind: "header-bytes" });
    expect(judged("y".repeat(maxHeaderBytes + 1))).toEqual({ kind: "header-bytes" });
  });

  it("names the loop before it has counted to the end", () => {
    const why = "more than 100 Received fields";
    expect(judged("Received: x\r\n".repeat(100_000))).toEqual({ kind: "loop", why });
    expect(judged(own.repeat(5))).toEqual({ kind: "loop", why: "it came by here 5 times already" });
    expect(judged(own.repeat(4))).toBeUndefined();
  });

  it("finds no header where the mail begins with a blank", () => {
    expect(judged(` ${"X: y\r\n".repeat(maxHeaderFields + 1)}`)).toBeUndefined();
  });
});
