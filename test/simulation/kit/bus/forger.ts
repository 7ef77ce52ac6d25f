import { decodeMessage, encodeMessages, type IncomingPart } from "@rs-agent/shared/bus/codec.ts";
import { wireVersions } from "@rs-agent/shared/bus/wire.ts";
import type { Random } from "../random.ts";
import type { VirtualProcess } from "../virtual-time.ts";

/** The heads of a message with their bodies; none where it does not decode. */
export function partsOf(frames: readonly Buffer[]): IncomingPart[] {
  const parts: IncomingPart[] = [];
  decodeMessage(
    frames,
    wireVersions,
    (part) => parts.push(part),
    () => undefined,
  );
  return parts;
}

/** A message that holds one head and its body. */
export function messageOf({ head, body }: IncomingPart): Buffer[] {
  const [frames = []] = encodeMessages([{ head, body }]);
  return frames;
}

/**
 * Somebody who reads the results on their way to a dispatcher and sends others of his own right
 * before them: he knows everything but what the next task's id is.
 */
export function createForger(random: Random, forges: () => boolean) {
  const seen: IncomingPart[] = [];
  return (frames: Buffer[], to: VirtualProcess): Buffer[][] => {
    if (to.sort !== "dispatcher" || !forges()) return [frames];
    const results = partsOf(frames).filter(({ head }) => head["kind"] === "result");
    const forged = results.map((part) => messageOf(forge(random, random.pick([part, ...seen]))));
    seen.push(...results.slice(0, Math.max(0, 20 - seen.length)));
    if (random.chance(0.1)) forged.push(broken(random, frames));
    return [...forged, frames];
  };
}

/** Says `clean` or `ham`, with something about it that is not as asked. */
function forge(random: Random, { head, body }: IncomingPart): IncomingPart {
  const outputs: Record<string, unknown> = {
    virus: { kind: "clean" },
    spam: { kind: "ham", score: -10, required: 5, rules: [] },
  };
  const output = outputs[String(head["task"])] ?? head["output"];
  const hex = (digits: number) =>
    Array.from({ length: digits }, () => random.int(0, 15).toString(16)).join("");
  const lie = random.pick([
    { taskId: hex(32) },
    { settingsHash: hex(32) },
    { sha256: hex(64) },
    { mailId: "m00", taskId: hex(32) },
    { session: hex(32) },
    { from: "somebody" },
  ]);
  return { head: { ...head, output, ...lie }, body };
}

function broken(random: Random, frames: Buffer[]): Buffer[] {
  return frames.map((frame) => frame.subarray(0, random.int(0, frame.length)));
}
