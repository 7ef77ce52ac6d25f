import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DataDecoder } from "../src/data-decoder.ts";

const latin1 = (text: string) => Buffer.from(text, "latin1");

/** What a reader of the whole wire gets, in the words of RFC 5321 §4.5.2. */
function decodedAtOnce(wire: string): { content: string; end: number } {
  const end = /(?<=^|\r\n)\.\r\n/.exec(wire);
  if (end === null) throw new Error("the mail has no end");
  const stuffed = wire.slice(0, end.index);
  const content = stuffed.replace(/(?<=^|\r\n)\.(?=[\t\x20-\x7e\xa0-\xff])/g, "");
  return { content, end: end.index + 3 };
}

function decoded(wire: string, cuts: readonly number[]): { content: string; end: number } {
  const decoder = new DataDecoder();
  const borders = [...cuts.map((cut) => cut % (wire.length + 1)), wire.length];
  let content = "";
  let from = 0;
  for (const to of borders.sort((a, b) => a - b)) {
    const piece = decoder.push(latin1(wire.slice(from, to)));
    content += piece.content.toString("latin1");
    if (piece.end !== undefined) return { content, end: from + piece.end };
    from = to;
  }
  throw new Error("the mail has no end");
}

/** Dots as RFC 5321 §4.5.2 makes the client send them. */
function stuffed(content: string): string {
  const wire = content.replace(/(?<=^|\r\n)\./g, "..");
  return wire === "" || wire.endsWith("\r\n") ? `${wire}.\r\n` : `${wire}\r\n.\r\n`;
}

const token = fc.constantFrom(
  ...["\r\n", "\r\n.", "\r\n..", ".", "\r", "\n", "\n..", "\0", "\t", "\x85", "\xe4", "x"],
  "a line that is longer than what is looked at byte by byte, and then some more of it, and more",
);
const bytes = fc.array(token, { maxLength: 30 }).map((tokens) => tokens.join(""));
const cuts = fc.array(fc.nat(), { maxLength: 12 });
const pipelined = fc.constantFrom("", "MAIL FROM:<a@b.example>\r\n", ".\r\n", "\r\n.\r\n");

describe("DataDecoder", () => {
  it("gives the bytes that the client had, and leaves what follows them", () => {
    fc.assert(
      fc.property(bytes, pipelined, cuts, (content, behind, where) => {
        const wire = stuffed(content);
        const whole = content === "" || content.endsWith("\r\n") ? content : `${content}\r\n`;
        expect(decoded(wire + behind, where)).toEqual({ content: whole, end: wire.length });
      }),
      { numRuns: 2_000 },
    );
  });

  it("gives the same for any chunking of any bytes, even those that no client should send", () => {
    fc.assert(
      fc.property(bytes, cuts, (sent, where) => {
        const wire = `${sent}\r\n.\r\n`;
        expect(decoded(wire, where)).toEqual(decodedAtOnce(wire));
      }),
      { numRuns: 3_000 },
    );
  });

  it("gives the same byte by byte", () => {
    fc.assert(
      fc.property(bytes, (sent) => {
        const wire = `${sent}\r\n.\r\n`;
        const everywhere = Array.from(wire, (_, at) => at);
        expect(decoded(wire, everywhere)).toEqual(decodedAtOnce(wire));
      }),
    );
  });

  it.each([
    ["a\n..b\r\n.\r\n", "a\n..b\r\n"],
    ["a\r..b\r\n.\r\n", "a\r..b\r\n"],
    ["..\r\n...\r\n.\r\n", ".\r\n..\r\n"],
    ["a\r\n..b\r\n.\r\n", "a\r\n.b\r\n"],
    ["a\r\n.b\r\n.\r\n", "a\r\nb\r\n"],
    ["a\r\n.\nb\r\n.\r\n", "a\r\n.\nb\r\n"],
    ["a\r\n.\rb\r\n.\r\n", "a\r\n.\rb\r\n"],
    ["a\r\n.\r\r\n.\r\n", "a\r\n.\r\r\n"],
    ["a\r\n\0.\r\n.\r\n", "a\r\n\0.\r\n"],
    ["a\n.\r\n.\r\n", "a\n.\r\n"],
    ["a\r.\r\n.\r\n", "a\r.\r\n"],
    [".\r\n", ""],
  ])("makes of %j the mail %j", (wire, content) => {
    expect(decoded(wire, [])).toEqual({ content, end: wire.length });
  });

  it("gives one piece for each chunk, a view if no byte was removed", () => {
    const decoder = new DataDecoder();
    const text = latin1("a line\r\n".repeat(8_192));
    expect(decoder.push(text).content.buffer).toBe(text.buffer);
    const dots = latin1("..\r\n".repeat(16_384));
    const { content, end } = decoder.push(dots);
    expect(content.toString("latin1")).toBe(".\r\n".repeat(16_384));
    expect(end).toBeUndefined();
    expect(dots.subarray(0, 4).toString()).toBe("..\r\n");
  });
});
