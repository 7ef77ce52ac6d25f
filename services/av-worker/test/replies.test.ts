import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { findingOf, isAnswer, parseSessionReply } from "../src/clamd/replies.ts";
import { ReplyReader } from "../src/clamd/reply-reader.ts";
import { parseVersion } from "../src/clamd/version.ts";

describe("findingOf", () => {
  it.each([
    ["stream: OK", { kind: "clean" }],
    ["stream: Eicar-Signature FOUND", { kind: "infected", names: ["Eicar-Signature"] }],
    [
      "stream: Win.Test.EICAR_HDB-1(44d88612fea8a8f36de82e1278abb02f:68) FOUND",
      { kind: "infected", names: ["Win.Test.EICAR_HDB-1"] },
    ],
  ])("reads %j", (reply, finding) => {
    expect(findingOf(reply, "stream")).toEqual(finding);
  });

  it.each([
    ["stream: Heuristics.Limits.Exceeded.MaxRecursion FOUND", "limit"],
    ["stream: Heuristics.Limits.Exceeded FOUND", "limit"],
    ["stream: Heuristics.Encrypted.Zip FOUND", "encrypted"],
    ["stream: Heuristics.Encrypted.PDF FOUND", "encrypted"],
    ["INSTREAM size limit exceeded. ERROR", "too-large"],
    ["stream: Can't allocate memory ERROR", "engine-error"],
    ["COMMAND READ TIMED OUT", "engine-error"],
    ["stream: OK ", "engine-error"],
    ["stream:  OK", "engine-error"],
    ["Stream: OK", "engine-error"],
    ["/etc/passwd: OK", "engine-error"],
    ["stream: FOUND", "engine-error"],
    ["stream: Empty file", "engine-error"],
    ["OK", "engine-error"],
    ["", "engine-error"],
  ])("calls %j unchecked", (reply, reason) => {
    expect(findingOf(reply, "stream")).toMatchObject({ kind: "unchecked", reason });
  });

  it("takes a name that only resembles a heuristic for a virus", () => {
    const { kind } = findingOf("stream: Heuristics.EncryptedX FOUND", "stream");
    expect(kind).toBe("infected");
  });
});

/** Text made of clamd's own words, where a careless reader would go wrong. */
const words = fc.constantFrom(
  ...["stream", ": ", ":", " ", "OK", "FOUND", "ERROR", "1", "2", "\0", "\n", "Virus", "/tmp/x"],
);
const nearReplies = fc.oneof(
  fc.array(words, { maxLength: 8 }).map((parts) => parts.join("")),
  fc.string({ unit: "binary", maxLength: 40 }),
);

describe("any bytes from clamd", () => {
  it("are clean only as the exact text for the exact name (I2)", () => {
    fc.assert(
      fc.property(nearReplies, fc.constantFrom("stream", "/tmp/x", "/tmp/x: OK"), (reply, name) => {
        const isClean = findingOf(reply, name).kind === "clean";
        expect(isClean).toBe(reply === `${name}: OK`);
        if (isClean) expect(isAnswer(reply, name)).toBe(true);
      }),
    );
  });

  it("give one finding whatever the cuts between packets are", () => {
    fc.assert(
      fc.property(fc.array(nearReplies), fc.array(fc.nat(20)), (replies, cuts) => {
        const bytes = Buffer.from(replies.join("\0"), "utf8");
        const whole = new ReplyReader(1_000).push(bytes);
        const reader = new ReplyReader(1_000);
        const inPieces: string[] = [];
        let offset = 0;
        for (const length of cuts) {
          inPieces.push(...reader.push(bytes.subarray(offset, offset + length)));
          offset += length;
        }
        inPieces.push(...reader.push(bytes.subarray(offset)));
        expect(inPieces).toEqual(whole);
      }),
    );
  });

  it("name a scan only by a plain positive number", () => {
    fc.assert(
      fc.property(nearReplies, (line) => {
        const reply = parseSessionReply(line);
        if (reply !== undefined) expect(line).toBe(`${reply.id}: ${reply.text}`);
      }),
    );
    for (const line of ["0: x", "01: x", "-1: x", "1.5: x", " 1: x", "1 : x", "1:x", "x"]) {
      expect(parseSessionReply(line)).toBeUndefined();
    }
  });

  it("are no reply without their end", () => {
    const reader = new ReplyReader(100);
    expect(reader.push(Buffer.from("1: stream: OK"))).toEqual([]);
    expect(reader.hasPartial).toBe(true);
  });
});

describe("parseVersion", () => {
  it("reads engine, signatures and their date", () => {
    expect(parseVersion("ClamAV 1.4.3/27712/Sun Jul 27 08:35:46 2025")).toEqual({
      name: "clamd",
      version: "1.4.3",
      signatureVersion: "27712",
      signatureAt: new Date(2025, 6, 27, 8, 35, 46),
    });
    expect(parseVersion("ClamAV 0.103.12/27000/Sat Aug  2 08:35:46 2025")?.signatureAt).toEqual(
      new Date(2025, 7, 2, 8, 35, 46),
    );
  });

  it("reads a clamd without the official signatures", () => {
    expect(parseVersion("ClamAV 1.4.6")).toEqual({ name: "clamd", version: "1.4.6" });
  });

  it.each(["", "PONG", "UNKNOWN COMMAND", "ClamAV ", "ClamAV 1.4.3/x/y"])("refuses %j", (text) => {
    expect(parseVersion(text)).toBeUndefined();
  });
});
