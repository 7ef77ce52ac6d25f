import { buffer } from "node:stream/consumers";
import fc from "fast-check";
import DataStream from "nodemailer/lib/smtp-connection/data-stream";
import { describe, expect, it } from "vitest";
import { canonicalize } from "@rs-agent/shared/mail/canonical.ts";
import { dataBlocks } from "../src/data-blocks.ts";

const blocksOf = (chunks: readonly Buffer[], blockBytes = 64 * 1024) => [
  ...dataBlocks(chunks, blockBytes),
];
const sent = (chunks: readonly Buffer[], blockBytes?: number) =>
  Buffer.concat(blocksOf(chunks, blockBytes).map(({ bytes }) => bytes));

async function asNodemailer(chunks: readonly Buffer[]): Promise<Buffer> {
  const stream = new DataStream();
  for (const chunk of chunks) stream.write(chunk);
  stream.end();
  return buffer(stream);
}

/** Cut at these places, which may be the same. */
function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const edges = [0, ...places.map((at) => at % (bytes.length + 1)).sort((a, b) => a - b)];
  return edges.map((edge, nth) => bytes.subarray(edge, edges[nth + 1] ?? bytes.length));
}

const word = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom("\r\n", ".", "..", "\r\n.", "\r\n.\r\n", "\n", "\r") },
  { weight: 1, arbitrary: fc.string({ unit: "binary", maxLength: 8 }) },
);
const mails = fc
  .array(word, { maxLength: 60 })
  .map((words) => canonicalize(Buffer.from(words.join(""), "latin1")));

describe("dataBlocks", () => {
  it("gives what nodemailer sends, whatever the mail is and wherever it is cut", async () => {
    const places = fc.array(fc.nat(500), { maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(mails, places, fc.integer({ min: 1, max: 40 }), async (mail, at, size) => {
        const chunks = cut(mail, at);
        const expected = await asNodemailer(chunks);
        expect(sent(chunks, size)).toEqual(expected);
        expect(sent([mail])).toEqual(expected);
      }),
      { numRuns: 500 },
    );
  });

  it.each([[[]], [[""]], [["no line end"]], [["a\r\n", "no line end", ""]], [["."]]])(
    "ends as nodemailer does: %j",
    async (texts) => {
      const chunks = texts.map((text) => Buffer.from(text));
      expect(sent(chunks)).toEqual(await asNodemailer(chunks));
    },
  );

  it("makes one block of a small mail, and of a large one no larger ones than asked for", () => {
    const small = [Buffer.from("A: 1\r\n"), Buffer.from("\r\n.\r\n")];
    expect(blocksOf(small)).toEqual([
      { bytes: Buffer.from("A: 1\r\n\r\n..\r\n.\r\n"), isLast: true },
    ]);
    const lines = Buffer.from("0123456\r\n".repeat(1_000));
    const blocks = blocksOf([lines.subarray(0, 10), lines.subarray(10)], 1_000);
    expect(blocks.map(({ isLast }) => isLast).lastIndexOf(false)).toBe(blocks.length - 2);
    expect(blocks.length).toBeLessThanOrEqual(11);
    for (const { bytes } of blocks) expect(bytes.length).toBeLessThanOrEqual(1_003);
  });

  it("copies nothing of a large mail that needs no dots, except its last block", () => {
    const large = Buffer.alloc(256 * 1024, "x".repeat(62) + "\r\n");
    const blocks = blocksOf([large]);
    const isView = ({ bytes }: { bytes: Buffer }) => bytes.buffer === large.buffer;
    expect(blocks.map(isView)).toEqual([true, true, true, false]);
  });
});
