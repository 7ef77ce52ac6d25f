import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ReplyReader, parseReply, type Reading } from "../src/spamd/reply.ts";
import { parseScore, parseSymbols } from "../src/spamd/score.ts";
import { methods, type Method } from "../src/spamd/request.ts";

const maxBytes = 1_000;
const read = (text: string, method: Method = "SYMBOLS") =>
  parseReply(Buffer.from(text, "latin1"), method, maxBytes);

function readInPieces(bytes: Buffer, cuts: readonly number[], method: Method): Reading {
  const reader = new ReplyReader(method, maxBytes);
  const edges = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b)];
  for (const [index, edge] of edges.entries()) {
    const reading = reader.push(bytes.subarray(edge, edges[index + 1] ?? bytes.length));
    if (reading.kind !== "more") return reading;
  }
  return reader.end();
}

describe("a reply of spamd", () => {
  it("is read with its headers and body", () => {
    const reading = read("SPAMD/1.1 0 EX_OK\r\nContent-length: 3\r\nSpam: True ; 6 / 5\r\n\r\nA,B");
    expect(reading).toMatchObject({ kind: "reply", reply: { code: 0, message: "EX_OK" } });
    if (reading.kind !== "reply") return;
    expect(reading.reply.headers.get("spam")).toBe("True ; 6 / 5");
    expect(reading.reply.body.toString()).toBe("A,B");
  });

  it("is the status line alone for errors and PONG", () => {
    expect(read("SPAMD/1.0 75 EX_TEMPFAIL\r\n")).toMatchObject({ reply: { code: 75 } });
    expect(read("SPAMD/1.5 0 PONG\r\n", "PING")).toMatchObject({ reply: { message: "PONG" } });
  });

  it("may end its headers twice after TELL", () => {
    const reading = read("SPAMD/1.1 0 EX_OK\r\nDidSet: local\r\n\r\n\r\n", "TELL");
    expect(reading).toMatchObject({ kind: "reply" });
  });

  it.each([
    ["nothing", ""],
    ["half a status line", "SPAMD/1.1 0 EX"],
    ["another protocol", "HTTP/1.1 200 OK\r\n\r\n"],
    ["a code that is not a number", "SPAMD/1.1 OK EX_OK\r\n\r\n"],
    ["no Content-length", "SPAMD/1.1 0 EX_OK\r\nSpam: False ; 0 / 5\r\n\r\nA"],
    ["a Content-length that is not a number", "SPAMD/1.1 0 EX_OK\r\nContent-length: 1x\r\n\r\nA"],
    ["a negative Content-length", "SPAMD/1.1 0 EX_OK\r\nContent-length: -1\r\n\r\n"],
    ["two Content-lengths", "SPAMD/1.1 0 EX_OK\r\nContent-length: 1\r\nContent-length: 1\r\n\r\nA"],
    ["less body than it says", "SPAMD/1.1 0 EX_OK\r\nContent-length: 2\r\n\r\nA"],
    ["more body than it says", "SPAMD/1.1 0 EX_OK\r\nContent-length: 1\r\n\r\nAB"],
    ["more body than the limit", "SPAMD/1.1 0 EX_OK\r\nContent-length: 1001\r\n\r\n"],
    ["a header without a colon", "SPAMD/1.1 0 EX_OK\r\nSpam True\r\n\r\n"],
    ["no end of the head", "SPAMD/1.1 0 EX_OK\r\nA: " + "x".repeat(9_000)],
    ["a second status line among its headers", "SPAMD/1.1 0 EX_OK\r\nSPAMD/1.0 79 Timeout\r\n\r\n"],
  ])("is garbled if it is %s", (_, text) => {
    expect(read(text)).toMatchObject({ kind: "garbled" });
  });

  it("reads the same however the bytes are cut", () => {
    const text = fc.oneof(
      fc.string({ unit: "binary-ascii" }),
      fc.constantFrom(
        "SPAMD/1.1 0 EX_OK\r\nContent-length: 3\r\nSpam: True ; 6 / 5\r\n\r\nA,B",
        "SPAMD/1.1 0 EX_OK\r\nSpam: True ; 6 / 5\r\n\r\n",
        "SPAMD/1.0 76 Bad header line\r\n",
      ),
    );
    fc.assert(
      fc.property(
        text,
        fc.array(fc.nat(), { maxLength: 6 }),
        fc.constantFrom(...methods),
        (whole, cuts, method) => {
          const bytes = Buffer.from(whole, "latin1");
          const once = parseReply(bytes, method, maxBytes);
          const pieces = readInPieces(bytes, cuts, method);
          // What follows a whole reply is seen only if it came with the reply.
          if (once.kind === "garbled" && pieces.kind === "reply") return;
          expect(pieces.kind).toBe(once.kind);
          if (once.kind === "reply") expect(pieces).toEqual(once);
        },
      ),
    );
  });

  it("that was truncated anywhere is never a reply", () => {
    const whole = "SPAMD/1.1 0 EX_OK\r\nContent-length: 3\r\nSpam: False ; 0.0 / 5.0\r\n\r\nA,B";
    for (let length = 0; length < whole.length; length += 1) {
      expect(read(whole.slice(0, length))).toMatchObject({ kind: "garbled" });
    }
  });

  it("is a judgement only as the exact form, whatever else comes (I2)", () => {
    const status = "SPAMD/1.1 0 EX_OK\r\n";
    const ham = "Spam: False ; 0.0 / 5.0\r\n";
    const pieces = fc.constantFrom(
      ...[status, "SPAMD/1.1 1 EX_OK\r\n", "SPAMD/1.1 0 ", "\r\n", "\n", "\0", "A", ","],
      ...["Content-length: 1\r\n", "Content-length: 0\r\n", ham, "Spam: True ; 9.0 / 5.0\r\n"],
      ...["Spam: False ; 9.0 / 5.0\r\n", "Spam: False\r\n"],
    );
    const judgements = new Set([ham, "Spam: True ; 9.0 / 5.0\r\n"]);
    let judged = 0;
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 6 }), (parts) => {
        const reading = read(parts.join(""));
        if (reading.kind !== "reply" || reading.reply.code !== 0) return;
        const score = parseScore(reading.reply.headers.get("spam") ?? "");
        const rules = parseSymbols(reading.reply.body.toString("latin1"));
        if (score === undefined || rules === undefined) return;
        judged += 1;
        const [first, ...rest] = parts;
        const [header, other] = rest.slice(0, 2).sort().reverse();
        const body = rest.slice(3).join("");
        expect([first, rest[2], judgements.has(header ?? "")]).toEqual([status, "\r\n", true]);
        expect(other).toBe(`Content-length: ${body.length}\r\n`);
        expect([score.spam, rules.length]).toEqual([header !== ham, body.length]);
      }),
      {
        numRuns: 20_000,
        examples: [[[status, "Content-length: 0\r\n", ham, "\r\n"]]],
      },
    );
    expect(judged).toBeGreaterThan(0);
  });
});
