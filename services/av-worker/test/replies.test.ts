import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { virusFindingSchema } from "@rs-agent/shared/checks/virus.ts";
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
    ["stream: FOUND ", "engine-error"],
    ["stream: Virus found", "engine-error"],
    ["stream: Virus FOUND. ERROR", "engine-error"],
    ["stream: NOTFOUND", "engine-error"],
    ["stream: Empty file", "engine-error"],
    ["OK", "engine-error"],
    ["", "engine-error"],
  ])("calls %j unchecked", (reply, reason) => {
    expect(findingOf(reply, "stream")).toMatchObject({ kind: "unchecked", reason });
  });

  it.each([
    "Heuristics.EncryptedX",
    "Odd: Heuristics.Encrypted.Zip",
    // Somebody's signature: clamd marks it, but marks no heuristic of its own.
    "Heuristics.Encrypted.Zip.UNOFFICIAL",
    "Heuristics.Limits.Exceeded.MaxFileSize.UNOFFICIAL",
  ])("takes %j, which only resembles a heuristic, for a virus", (name) => {
    expect(findingOf(`stream: ${name} FOUND`, "stream")).toEqual({
      kind: "infected",
      names: [name],
    });
  });

  it.each([
    "Odd Name With Blanks",
    " two  blanks ",
    "Trojan: Win32: x",
    "Wurm.Bäcker-蠕虫-🐛",
    "stream: OK",
    "1: stream: OK",
    "X FOUND",
    "Can't allocate memory ERROR",
    "a\x1b[31mred\r\n\tx",
    "Odd(name:1)",
    "(44d88612fea8a8f36de82e1278abb02f)",
  ])("keeps the name %j as it is (I2)", (name) => {
    const finding = { kind: "infected", names: [name] };
    expect(findingOf(`stream: ${name} FOUND`, "stream")).toEqual(finding);
    const extended = `stream: ${name}(44d88612fea8a8f36de82e1278abb02f:68) FOUND`;
    expect(findingOf(extended, "stream")).toEqual(finding);
    const inFile = "/var/spool/a mail: OK";
    expect(findingOf(`${inFile}: ${name} FOUND`, inFile)).toEqual(finding);
  });

  it.each(["stream: FOUND", "stream:  FOUND", "stream:    FOUND", "FOUND"])(
    "calls what %j found unnamed (I2)",
    (reply) => {
      expect(findingOf(reply, "stream")).toEqual({ kind: "infected", names: ["unnamed"] });
    },
  );

  it("keeps all that clamd said if it found something in another object (I2)", () => {
    const names = ["/other: Virus"];
    expect(findingOf("/other: Virus FOUND", "stream")).toEqual({ kind: "infected", names });
    expect(isAnswer("/other: Virus FOUND", "stream")).toBe(true);
  });

  it("cuts a name to 256 characters, none of them in half", () => {
    const nameOf = (name: string) => {
      const finding = findingOf(`stream: ${name} FOUND`, "stream");
      return finding.kind === "infected" ? finding.names[0] : undefined;
    };
    expect(nameOf("N".repeat(8_000))).toBe("N".repeat(256));
    expect(nameOf("🐛".repeat(200))).toBe("🐛".repeat(128));
    expect(nameOf(`x${"🐛".repeat(200)}`)).toBe(`x${"🐛".repeat(127)}`);
  });
});

/** Text made from clamd's own words, on which a careless reader would go wrong. */
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

  it("are a finding whenever they end with FOUND, one that the records can hold (I2)", () => {
    const names = fc.oneof(nearReplies, fc.string({ unit: "binary", maxLength: 600 }));
    fc.assert(
      fc.property(names, fc.constantFrom("stream", "/tmp/x", "/tmp/x: OK"), (name, asked) => {
        const reply = `${asked}: ${name} FOUND`;
        const finding = findingOf(reply, asked);
        expect(finding.kind).toBe("infected");
        expect(isAnswer(reply, asked)).toBe(true);
        expect(virusFindingSchema.parse(finding)).toEqual(finding);
        if (finding.kind !== "infected") return;
        const [kept = ""] = finding.names;
        expect(kept.isWellFormed()).toBe(true);
        if (kept !== "unnamed") expect(name.startsWith(kept)).toBe(true);
      }),
    );
  });

  it("give one finding, however the packets are cut", () => {
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

  it("are not a reply without its end", () => {
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
