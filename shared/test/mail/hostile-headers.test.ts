import { describe, expect, it } from "vitest";
import { canonicalize } from "../../src/mail/canonical.ts";
import { headerSummary } from "../../src/mail/header-summary.ts";
import { inspectTrace, isLoop } from "../../src/mail/received.ts";
import { countCpu } from "../../../test/support/cpu-time.ts";

const repeated = (piece: string, bytes: number) => piece.repeat(Math.ceil(bytes / piece.length));
const megabyte = 1_000_000;

/** Everything that is done with a mail's header before it is stored, and how long it took. */
function look(text: string) {
  const cpuMs = countCpu();
  const raw = canonicalize(Buffer.from(text, "latin1"));
  const summary = headerSummary(raw);
  const loop = isLoop(inspectTrace(raw, "mx.example"));
  return { raw, summary, loop, ms: cpuMs() };
}

/** Pieces for each of which an honest parser builds a tree, backtracks or copies. */
const pieces = [
  ...["<", "(", "((", "\\(", '"', '\\"', ",", ";", ":", "a:", "a:b,", "a<b>", "a <b@c>,", "@"],
  ...[
    "=?utf-8?q?",
    "=?utf-8?q?a?= ",
    "=?utf-8?b?",
    "=?",
    "?=",
    "=?x?x?",
    "\r\n ",
    "\r\n\t",
    " ",
    "\0",
  ],
  ...["\xff", "<a@b.example>(c)", "undisclosed:;", "a@b@", "xn--", "xn--a.", ".", "a."],
];

describe("a header made to be hard to read", () => {
  it.each(pieces.map((piece) => [JSON.stringify(piece), piece]))(
    "of 1 MB of %s in From, Message-ID and Received takes bounded time",
    (_, piece) => {
      const value = repeated(piece, megabyte);
      const { summary, ms } = look(
        `From: ${value}\r\nMessage-ID: ${value}\r\nReceived: by ${value}\r\n\r\nbody\r\n`,
      );
      expect(ms).toBeLessThan(5_000);
      expect(summary.from?.length ?? 0).toBeLessThanOrEqual(998);
      expect(summary.messageId?.length ?? 0).toBeLessThanOrEqual(998);
      // Nothing that is not read to its end decides whose mail it is.
      expect(summary.fromDomain).toBeUndefined();
    },
  );

  it.each<[string, string]>([
    ["10 MB of lone LF", repeated("\n", 10 * megabyte)],
    ["10 MB of lone CR", repeated("\r", 10 * megabyte)],
    ["10 MB of LF CR", repeated("\n\r", 10 * megabyte)],
    ["10 MB without a line end", repeated("x", 10 * megabyte)],
    ["10 MB of fields", repeated("A: b\r\n", 10 * megabyte)],
    ["10 MB of folded lines", `A:${repeated("\r\n b", 10 * megabyte)}`],
    ["10 MB of colons", repeated(":", 10 * megabyte)],
    ["10 MB of From fields", repeated("From: a@b.example\r\n", 10 * megabyte)],
    [
      "10 MB of our own Received fields",
      repeated("Received: by mx.example (rs-agent) with SMTP id 1\r\n", 10 * megabyte),
    ],
  ])("%s takes bounded time, and is canonical", (_, text) => {
    const { raw, summary, ms } = look(text);
    expect(ms).toBeLessThan(10_000);
    expect(canonicalize(raw)).toBe(raw);
    expect(summary.fromDomain).toBeUndefined();
  });

  it("that contains a loop is a loop, however many fields there are", () => {
    expect(look(repeated("Received: by x\r\n", megabyte)).loop).toBe(true);
    expect(look(`${repeated("X: y\r\n", megabyte)}${"Received: by x\r\n".repeat(101)}`).loop).toBe(
      true,
    );
    expect(look(`${repeated("X: y\r\n", megabyte)}Received: by x\r\n`).loop).toBe(false);
  });
});
