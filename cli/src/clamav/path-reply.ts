import { findingOf, parseFound, quote } from "@rs-agent/av-worker/clamd/replies.ts";
import { outcomeOf, type FileOutcome } from "./outcome.ts";

/**
 * One reply to CONTSCAN of `asked`: `OK` counts for exactly that path, `FOUND` for whatever file
 * in it clamd names, everything else is an error.
 */
export function readPathReply(
  reply: string,
  asked: string,
): { path: string; outcome: FileOutcome } {
  if (reply === `${asked}: OK`) return { path: asked, outcome: { result: "clean" } };
  const cut = reply.lastIndexOf(": ");
  const path = reply.slice(0, Math.max(cut, 0));
  const text = reply.slice(cut + 2);
  if (cut > 0 && parseFound(text) !== undefined) {
    return { path, outcome: outcomeOf(findingOf(reply, path)) };
  }
  if (reply.startsWith(`${asked}: `) && reply.endsWith(" ERROR")) {
    const detail = reply.slice(asked.length + 2, -" ERROR".length);
    return { path: asked, outcome: { result: "error", detail } };
  }
  return { path: asked, outcome: { result: "error", detail: `clamd answered ${quote(reply)}` } };
}
