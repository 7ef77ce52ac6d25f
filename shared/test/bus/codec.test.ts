import { readFile } from "node:fs/promises";
import fc from "fast-check";
import { expect, test } from "vitest";
import {
  decodeMessage,
  encodeMessages,
  maxHeadBytes,
  maxHeadsPerMessage,
  type IncomingPart,
} from "../../src/bus/codec.ts";
import type { DropCause } from "../../src/bus/drop-counter.ts";
import { headSchema } from "../../src/bus/wire.ts";
import { vectorHeads, vectorHex } from "./wire-vectors.ts";

const vectorBody = Buffer.from("mail\n");

function decode(frames: readonly Buffer[], versions = [1]) {
  const parts: IncomingPart[] = [];
  const dropped: DropCause[] = [];
  decodeMessage(
    frames,
    versions,
    (part) => parts.push(part),
    (cause) => dropped.push(cause),
  );
  return { parts, dropped };
}

function encodeOne(head: Record<string, unknown>): Buffer[] {
  return encodeMessages([{ head }])[0] ?? [];
}

const readme = await readFile(new URL("../../README.md", import.meta.url), "utf8");

for (const [name, head] of Object.entries(vectorHeads)) {
  const body = "bytes" in head ? vectorBody : undefined;

  test(`${name} has on the wire the bytes that the README states, and fits its schema`, () => {
    const hex = vectorHex[name as keyof typeof vectorHex];
    const [frames] = encodeMessages([{ head, body }]);
    expect(frames?.[0]?.toString("hex")).toBe(hex);
    expect(readme.replaceAll(/\s+/g, "")).toContain(hex);
    expect(decode([Buffer.from(hex, "hex"), ...(frames ?? []).slice(1)])).toEqual({
      parts: [{ head, body }],
      dropped: [],
    });
    expect(headSchema.parse(head)).toEqual(head);
  });
}

test("several heads travel in one message, each with its own body", () => {
  const parts = [
    { head: { v: 1, kind: "a", bytes: 3 }, body: Buffer.from("one") },
    { head: { v: 1, kind: "b" }, body: undefined },
    { head: { v: 1, kind: "c", bytes: 0 }, body: Buffer.alloc(0) },
  ];
  const messages = encodeMessages(parts);
  expect(messages).toHaveLength(1);
  expect(decode(messages[0] ?? [])).toEqual({ parts, dropped: [] });
});

test("unknown fields are kept, dates stay dates", () => {
  const head = { v: 1, kind: "x", later: { at: new Date(1_700_000_000_123), list: [1, -2.5] } };
  expect(decode(encodeOne(head)).parts).toEqual([{ head, body: undefined }]);
});

test("an encoded frame is never written to again by later encoding", () => {
  const frames = Array.from({ length: 2_000 }, (_, place) => encodeOne({ v: 1, place })[0]);
  frames.forEach((frame, place) => {
    expect(decode([frame ?? Buffer.alloc(0)]).parts[0]?.head).toEqual({ v: 1, place });
  });
});

test("heads that are too large together are sent separately, one too large alone is refused", () => {
  const half = { v: 1, text: "x".repeat(maxHeadBytes / 2) };
  expect(encodeMessages([{ head: half }, { head: half }])).toHaveLength(2);
  expect(() => encodeOne({ v: 1, text: "x".repeat(maxHeadBytes) })).toThrow("too large");
});

test("a head whose `bytes` is not its body's size cannot be encoded", () => {
  expect(() => encodeMessages([{ head: { v: 1, bytes: 4 }, body: vectorBody }])).toThrow("bytes");
  expect(() => encodeMessages([{ head: { v: 1 }, body: vectorBody }])).toThrow("bytes");
});

const good = encodeOne({ v: 1, kind: "bye" })[0] ?? Buffer.alloc(0);
const headAlone = (encodeMessages([{ head: vectorHeads.task, body: vectorBody }])[0] ?? []).slice(
  0,
  1,
);
const tooManyHeads = Buffer.from(`dc0041${"81a17601".repeat(maxHeadsPerMessage + 1)}`, "hex");

test.each<[string, DropCause, Buffer[]]>([
  ["a message without frames", "frames", []],
  ["a second frame that no head announces", "frames", [good, Buffer.from("x")]],
  ["a missing body", "frames", headAlone],
  ["a head larger than allowed", "oversize", [Buffer.alloc(maxHeadBytes + 1)]],
  ["a truncated head", "undecodable", [good.subarray(0, good.length - 2)]],
  ["bytes after the head", "undecodable", [Buffer.concat([good, good])]],
  ["an empty head", "undecodable", [Buffer.alloc(0)]],
  ["the unused byte 0xc1", "undecodable", [Buffer.from([0xc1])]],
  ["a million nested arrays", "undecodable", [Buffer.alloc(1_000_000, 0x91)]],
  ["a million nested maps", "undecodable", [Buffer.from("81a161".repeat(300_000), "hex")]],
  ["a number", "undecodable", [Buffer.from([7])]],
  ["an empty array of heads", "undecodable", [Buffer.from([0x90])]],
  ["more heads than may travel together", "undecodable", [tooManyHeads]],
  ["an array of 4,294,967,295 elements", "undecodable", [Buffer.from("ddffffffff", "hex")]],
  ["a map of 4,294,967,295 entries", "undecodable", [Buffer.from("dfffffffff", "hex")]],
  ["a regular expression", "undecodable", [Buffer.from("81a161d47800" + "92a12ba167", "hex")]],
  ["another wire version", "version", encodeOne({ v: 2, kind: "bye" })],
  ["no wire version", "version", encodeOne({ kind: "bye" })],
  ["a wire version in words", "version", encodeOne({ v: "1", kind: "bye" })],
])("drops and counts %s (I9)", (_, cause, frames) => {
  expect(decode(frames)).toEqual({ parts: [], dropped: [cause] });
});

test("any bytes at all are dropped with a cause or decode to maps, and harm nothing after (I9)", () => {
  const frames = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 4 });
  fc.assert(
    fc.property(frames, (message) => {
      const { parts, dropped } = decode(message.map((frame) => Buffer.from(frame)));
      expect(parts.length + dropped.length).toBeGreaterThan(0);
      expect(decode([good]).parts).toEqual([{ head: { v: 1, kind: "bye" }, body: undefined }]);
    }),
    { numRuns: 2_000 },
  );
});

test("a frame with any bytes changed, cut out or put in is dropped or is still a map (I9)", () => {
  const task = encodeMessages([{ head: vectorHeads.task, body: vectorBody }])[0]?.[0];
  const original = task ?? Buffer.alloc(0);
  const damage = fc.tuple(
    fc.nat(original.length - 1),
    fc.nat(20),
    fc.uint8Array({ maxLength: 20 }),
  );
  fc.assert(
    fc.property(damage, ([at, cut, put]) => {
      const damaged = [original.subarray(0, at), put, original.subarray(at + cut)];
      const { parts, dropped } = decode([Buffer.concat(damaged), vectorBody]);
      expect(parts.length + dropped.length).toBe(1);
      for (const { head } of parts) expect(Object.getPrototypeOf(head)).toBe(Object.prototype);
    }),
    { numRuns: 2_000 },
  );
});
