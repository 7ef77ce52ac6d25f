import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { canonicalize, withoutNul } from "../../src/mail/canonical.ts";
import { countCpu } from "../../../test/support/cpu-time.ts";

/** Mail made from what matters here: line ends in all combinations, and a few other bytes. */
const rawMail = fc
  .array(fc.constantFrom("\r", "\n", "\r\n", ".", "a", "\0", "\xff"), { maxLength: 60 })
  .map((parts) => Buffer.from(parts.join(""), "latin1"));

const reference = (raw: Buffer): string => {
  const text = raw.toString("latin1").replace(/\r\n|\r|\n/g, "\r\n");
  return text.endsWith("\r\n") ? text : `${text}\r\n`;
};

describe("canonicalize", () => {
  it("turns each lone CR and LF into CRLF and ends the last line", () => {
    fc.assert(
      fc.property(rawMail, (raw) => {
        expect(canonicalize(raw).toString("latin1")).toBe(reference(raw));
      }),
    );
  });

  it("does so in a mail of several blocks too, wherever its lone line ends are", () => {
    const line = Buffer.from("0123456789\r\n");
    const large = Buffer.alloc(200 * 1024, line);
    const places = [0, 1, 2].flatMap((block) =>
      [-13, -2, -1, 0, 1, 2, 11].map((near) => Math.max(0, block * 64 * 1024 + near)),
    );
    for (const at of places) {
      for (const bytes of ["\r", "\n", "\r\n", "\n\r", "\r\r", "\n\n", "x"]) {
        const raw = Buffer.from(large);
        raw.write(bytes, at, "latin1");
        expect(canonicalize(raw).toString("latin1")).toBe(reference(raw));
      }
    }
  });

  it("changes nothing the second time, and then returns the same buffer", () => {
    fc.assert(
      fc.property(rawMail, (raw) => {
        const once = canonicalize(raw);
        expect(canonicalize(once)).toBe(once);
      }),
    );
  });

  it("keeps every byte that is not a line end", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        const raw = Buffer.from(bytes);
        const rest = (buffer: Buffer) => buffer.filter((byte) => byte !== 13 && byte !== 10);
        expect(rest(canonicalize(raw))).toEqual(rest(raw));
      }),
    );
  });

  it.each(["\n", "\r", "\r\n", "a"])("takes linear time for 10 MB of %j", (unit) => {
    const timed = (megabytes: number) => {
      const raw = Buffer.alloc(megabytes * 1_000_000, unit);
      const cpuMs = countCpu();
      canonicalize(raw);
      return cpuMs();
    };
    timed(1);
    expect(timed(10)).toBeLessThan(2_000);
  });
});

describe("withoutNul", () => {
  it("removes each NUL and nothing else, and copies nothing if there is none", () => {
    fc.assert(
      fc.property(rawMail, (raw) => {
        const text = raw.toString("latin1");
        expect(withoutNul(raw).toString("latin1")).toBe(text.replaceAll("\0", ""));
        if (!text.includes("\0")) expect(withoutNul(raw)).toBe(raw);
      }),
    );
  });
});
