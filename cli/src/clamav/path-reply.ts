import { findingOf, isFoundReply, quote } from "@rs-agent/av-worker/clamd/replies.ts";
import { outcomeOf, type FileOutcome } from "./outcome.ts";

/**
 * One reply to CONTSCAN of `asked`: `OK` counts for exactly that path, `FOUND` for whatever file in
 * it clamd names; everything else is an error. If a colon makes it unclear where the path ends and
 * the name begins, the path is the longer one, and the finding remains a finding.
 */
export function readPathReply(
  reply: string,
  asked: string,
): { path: string; outcome: FileOutcome } {
  if (reply === `${asked}: OK`) return { path: asked, outcome: { result: "clean" } };
  if (isFoundReply(reply)) {
    const cut = reply.startsWith(`${asked}: `) ? asked.length : reply.lastIndexOf(": ");
    if (cut <= 0) return { path: asked, outcome: outcomeOf(findingOf(reply, asked)) };
    const path = reply.slice(0, cut);
    const finding = findingOf(reply, path);
    const isUnclear = path !== asked && path.includes(": ");
    if (finding.kind !== "unchecked" || !isUnclear) return { path, outcome: outcomeOf(finding) };
    return { path, outcome: { result: "infected", names: [finding.detail ?? finding.reason] } };
  }
  if (reply.startsWith(`${asked}: `) && reply.endsWith(" ERROR")) {
    const detail = reply.slice(asked.length + 2, -" ERROR".length);
    return { path: asked, outcome: { result: "error", detail } };
  }
  return { path: asked, outcome: { result: "error", detail: `clamd answered ${quote(reply)}` } };
}
