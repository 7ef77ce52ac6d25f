import { decodeMessage, encodeMessages, type IncomingPart } from "@rs-agent/shared/bus/codec.ts";
import { wireVersions } from "@rs-agent/shared/bus/wire.ts";
import type { Random } from "../random.ts";
import type { VirtualProcess } from "../virtual-time.ts";

/** The heads of a message with their bodies; none if it does not decode. */
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

/** A message that contains one head and its body. */
export function messageOf({ head, body }: IncomingPart): Buffer[] {
  const [frames = []] = encodeMessages([{ head, body }]);
  return frames;
}

/**
 * Somebody who reads the results on their way to a dispatcher and sends others of his own right
 * before them. He knows everything but the id of the next task. He also greets dispatchers in the
 * workers' names.
 */
export function createForger(random: Random, forges: () => boolean) {
  const seen: IncomingPart[] = [];
  const greetings: IncomingPart[] = [];
  return (frames: Buffer[], to: VirtualProcess): Buffer[][] => {
    if (to.sort !== "dispatcher" || !forges()) return [frames];
    const parts = partsOf(frames);
    const results = parts.filter(({ head }) => head["kind"] === "result");
    greetings.push(...parts.filter(({ head }) => head["kind"] === "ready").slice(0, 5));
    const forged = results.map((part) => messageOf(forge(random, random.pick([part, ...seen]))));
    seen.push(...results.slice(0, Math.max(0, 20 - seen.length)));
    if (random.chance(0.1)) forged.push(broken(random, frames));
    if (greetings.length > 0 && random.chance(0.05)) {
      forged.push(messageOf(inAnothersName(random, random.pick(greetings))));
    }
    greetings.splice(0, greetings.length - 20);
    return [...forged, frames];
  };
}

/** Says `clean` or `ham`, with something in it that is not as asked. */
function forge(random: Random, { head, body }: IncomingPart): IncomingPart {
  const outputs: Record<string, unknown> = {
    virus: { kind: "clean" },
    spam: { kind: "ham", score: -10, required: 5, rules: [] },
  };
  const output = outputs[String(head["task"])] ?? head["output"];
  const hex = (digits: number) => hexOf(random, digits);
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

/** A `ready` in a worker's name that the worker did not send: it knows no link of that name. */
function inAnothersName(random: Random, { head, body }: IncomingPart): IncomingPart {
  return { head: { ...head, link: hexOf(random, 32) }, body };
}

function hexOf(random: Random, digits: number): string {
  return Array.from({ length: digits }, () => random.int(0, 15).toString(16)).join("");
}

function broken(random: Random, frames: Buffer[]): Buffer[] {
  return frames.map((frame) => frame.subarray(0, random.int(0, frame.length)));
}
