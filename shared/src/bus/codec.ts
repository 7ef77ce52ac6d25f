import { Packr, addExtension } from "msgpackr";
import { TerminalError } from "../errors.ts";
import type { DropCause } from "./drop-counter.ts";

/**
 * Frames ↔ heads. Encoding never writes to a buffer twice (zeromq sends without copying); decoding
 * trusts nothing (I9): sizes before msgpack, shape after it, schemas one level up.
 */

/** Bytes that one head frame may have: the largest legal task (10,000 recipients) fits. */
export const maxHeadBytes = 8 * 1024 * 1024;
/** Heads that travel together in one message. */
export const maxHeadsPerMessage = 64;

/** A head to be sent: one of the kinds of wire.ts. `bytes` is there if and only if a body is. */
export interface OutgoingHead {
  readonly [field: string]: unknown;
  readonly bytes?: number | undefined;
}

/** A head to be sent and, if its `bytes` says so, the frame that goes with it. */
export interface OutgoingPart {
  head: OutgoingHead;
  body?: Buffer | undefined;
}

/** A head as it came: a map of which nothing but `v` has been looked at. */
export interface IncomingPart {
  head: Record<string, unknown>;
  body: Buffer | undefined;
}

// msgpackr decodes extensions of its own (regular expressions, errors, cyclic references, typed
// arrays, bundled strings). Heads have none of them, so none is made from foreign bytes.
for (const type of [0x42, 0x62, 0x65, 0x69, 0x70, 0x73, 0x74, 0x78]) {
  addExtension({
    type,
    unpack: () => {
      throw new TypeError("a head holds no such extension");
    },
  });
}

const packr = new Packr({ useRecords: false });

/**
 * Messages for these parts, in order: as few as the limits of a head frame allow. A single head is
 * a map, several are an array of maps; the bodies follow in the order of their heads.
 * @throws TerminalError BUS_FRAME_INVALID for one head that is larger than `maxHeadBytes`
 */
export function encodeMessages(parts: readonly OutgoingPart[]): Buffer[][] {
  const [only] = parts;
  if (only === undefined) return [];
  const heads = parts.length === 1 ? only.head : parts.map((part) => part.head);
  const frames = [packr.pack(heads)];
  if (frames[0] !== undefined && frames[0].length > maxHeadBytes) {
    if (parts.length === 1) throw new TerminalError("BUS_FRAME_INVALID", "the head is too large");
    const half = parts.length >> 1;
    return [...encodeMessages(parts.slice(0, half)), ...encodeMessages(parts.slice(half))];
  }
  for (const { head, body } of parts) {
    if (head.bytes !== body?.length) throw new TypeError("a head's `bytes` is not its body's size");
    if (body !== undefined) frames.push(body);
  }
  return [frames];
}

/**
 * Takes a message apart. What is wrong goes to `dropped` by its cause, what is right to `each`. The
 * size of the body frames was capped by the socket (`maxMessageSize`).
 */
export function decodeMessage(
  frames: readonly Buffer[],
  versions: readonly number[],
  each: (part: IncomingPart) => void,
  dropped: (cause: DropCause) => void,
): void {
  const parts = takeApart(frames);
  if (typeof parts === "string") {
    dropped(parts);
    return;
  }
  for (const part of parts) {
    if (versions.includes(part.head["v"] as number)) each(part);
    else dropped("version");
  }
}

function takeApart(frames: readonly Buffer[]): IncomingPart[] | DropCause {
  const [first] = frames;
  if (first === undefined || frames.length > maxHeadsPerMessage + 1) return "frames";
  if (first.length > maxHeadBytes) return "oversize";
  const value = unpack(first);
  const heads: readonly unknown[] = Array.isArray(value) ? value : [value];
  if (heads.length === 0 || heads.length > maxHeadsPerMessage) return "undecodable";
  const parts: IncomingPart[] = [];
  let taken = 1;
  for (const head of heads) {
    if (!isMap(head)) return "undecodable";
    let body: Buffer | undefined;
    if (head["bytes"] !== undefined) {
      body = frames[taken];
      taken += 1;
      if (body?.length !== head["bytes"]) return "frames";
    }
    parts.push({ head, body });
  }
  return taken === frames.length ? parts : "frames";
}

/** The value of a head frame, or undefined: cut short, nested past the stack, not msgpack. */
function unpack(frame: Buffer): unknown {
  try {
    return packr.unpack(frame);
  } catch {
    return undefined;
  }
}

function isMap(value: unknown): value is Record<string, unknown> {
  return (
    typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype
  );
}
