import type { ScanInput } from "./frames.ts";
import type {
  UncheckedFinding,
  UncheckedReason,
  VirusFinding,
} from "@rs-agent/shared/mail/verdict.ts";

/**
 * What clamd's answers mean (clamd(8)). Pure. One rule above all (I2): `clean` comes from exactly
 * one text, `<what was asked>: OK`; what is not understood is never clean.
 */

/** What clamd calls the object of a scan: `stream`, or the path exactly as it was sent. */
export function nameOf(input: ScanInput): string {
  return input.kind === "path" ? input.path : "stream";
}

/** A reply inside IDSESSION: `<id>: <text>`, the id counting the session's commands from 1. */
export function parseSessionReply(line: string): { id: number; text: string } | undefined {
  const match = /^([1-9][0-9]{0,14}): ([^]*)$/.exec(line);
  return match === null ? undefined : { id: Number(match[1]), text: match[2] ?? "" };
}

/**
 * The finding that a reply to INSTREAM, SCAN or CONTSCAN states; `name` as in `nameOf`.
 */
export function findingOf(reply: string, name: string): VirusFinding {
  if (reply === `${name}: OK`) return { kind: "clean" };
  if (reply === "INSTREAM size limit exceeded. ERROR") {
    return unchecked("too-large", "larger than clamd's StreamMaxLength");
  }
  const prefix = `${name}: `;
  const found = reply.startsWith(prefix) ? parseFound(reply.slice(prefix.length)) : undefined;
  if (found === undefined) return unchecked("engine-error", `clamd answered ${quote(reply)}`);
  return classOf(found);
}

/** True for the three kinds of reply that a scan can have: OK, FOUND, or an error in words. */
export function isAnswer(reply: string, name: string): boolean {
  if (reply === `${name}: OK` || isErrorReply(reply)) return true;
  const prefix = `${name}: `;
  return reply.startsWith(prefix) && parseFound(reply.slice(prefix.length)) !== undefined;
}

export function isErrorReply(reply: string): boolean {
  return reply.endsWith(" ERROR");
}

/** The name in `<name> FOUND`, without the `(hash:size)` that ExtendedDetectionInfo adds. */
export function parseFound(text: string): string | undefined {
  const match = /^([\x21-\x7e]{1,256}?)(?:\([0-9a-f]{32,128}:\d+\))? FOUND$/.exec(text);
  return match?.[1];
}

/** A heuristic that says "I could not look inside" is no virus, and not clean either. */
function classOf(name: string): VirusFinding {
  if (isOf(name, "Heuristics.Limits.Exceeded")) return unchecked("limit", name);
  if (isOf(name, "Heuristics.Encrypted")) return unchecked("encrypted", name);
  return { kind: "infected", names: [name] };
}

function isOf(name: string, family: string): boolean {
  return name === family || name.startsWith(`${family}.`);
}

export function unchecked(reason: UncheckedReason, detail: string): UncheckedFinding {
  return { kind: "unchecked", reason, detail: detail.slice(0, 1000) };
}

/** An unexpected reply for a log line or a detail: shortened, control characters escaped. */
export function quote(text: string): string {
  const short = text.length > 200 ? `${text.slice(0, 200)}…` : text;
  return JSON.stringify(short);
}
