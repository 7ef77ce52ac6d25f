import { cutText } from "@rs-agent/shared/cut-text.ts";
import { maxNameLength, unchecked } from "@rs-agent/shared/checks/finding.ts";
import type { VirusFinding } from "@rs-agent/shared/checks/virus.ts";
import type { ScanInput } from "./frames.ts";

/**
 * What clamd's answers mean (clamd(8)). Pure. One rule above all (I2): only one text, `<what was
 * asked>: OK`, means `clean`; what is not understood is never clean.
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
 * The finding in a reply to INSTREAM, SCAN or CONTSCAN; `name` as in `nameOf`. Whatever ends with
 * FOUND is a finding: signatures come from many hands, and some have names that read like clamd's
 * own words.
 */
export function findingOf(reply: string, name: string): VirusFinding {
  if (reply === `${name}: OK`) return { kind: "clean" };
  if (isFoundReply(reply)) return classOf(foundIn(reply, name));
  if (reply === "INSTREAM size limit exceeded. ERROR") {
    return unchecked("too-large", "larger than clamd's StreamMaxLength");
  }
  return unchecked("engine-error", `clamd answered ${quote(reply)}`);
}

/** True for the three replies that a scan can have: OK, FOUND, or an error message. */
export function isAnswer(reply: string, name: string): boolean {
  return reply === `${name}: OK` || isFoundReply(reply) || isErrorReply(reply);
}

export function isFoundReply(reply: string): boolean {
  return reply === "FOUND" || reply.endsWith(" FOUND");
}

export function isErrorReply(reply: string): boolean {
  return reply.endsWith(" ERROR");
}

/**
 * What clamd found, in its own words, without the `(hash:size)` that ExtendedDetectionInfo adds in
 * some versions. If the reply names another object than the one scanned, the whole text is the
 * name.
 */
function foundIn(reply: string, name: string): string {
  const prefix = `${name}: `;
  const text = reply.startsWith(prefix) ? reply.slice(prefix.length) : reply;
  const match = /^([^]*?)(?:\([0-9a-f]{32,128}:\d+\))? ?FOUND$/.exec(text);
  return match?.[1] ?? text;
}

/** A heuristic that says "I could not look inside" is not a virus, but not clean either. */
function classOf(name: string): VirusFinding {
  if (isOf(name, "Heuristics.Limits.Exceeded")) return unchecked("limit", name);
  if (isOf(name, "Heuristics.Encrypted")) return unchecked("encrypted", name);
  const cut = cutText(name, maxNameLength);
  return { kind: "infected", names: [cut.trim() === "" ? "unnamed" : cut] };
}

/**
 * clamd marks the names of third-party signatures with this ending; no heuristic of its own has it.
 */
function isOf(name: string, family: string): boolean {
  if (name.endsWith(".UNOFFICIAL")) return false;
  return name === family || name.startsWith(`${family}.`);
}

/** An unexpected reply for a log line or a detail: shortened, control characters escaped. */
export function quote(text: string): string {
  const short = text.length > 200 ? `${text.slice(0, 200)}…` : text;
  return JSON.stringify(short);
}
