import type { TaskKind } from "../checks/verdict.ts";
import { resultHeadSchema, type ResultHead } from "./wire.ts";
import type { DropCause } from "./drop-counter.ts";

/** What a result must echo (I4). */
export interface Asked {
  kind: TaskKind;
  mailId: string;
  sha256: string;
  settingsHash: string;
}

/**
 * Checks a result whose session and task id are known already: it must echo what was asked and fit
 * the schema. The commonest result, a bare `clean`, is recognised by hand, since what it echoes was
 * already compared with values of our own.
 */
export function parseResult(
  head: Record<string, unknown>,
  body: Buffer | undefined,
  asked: Asked,
): ResultHead | DropCause {
  if (
    head["task"] !== asked.kind ||
    head["mailId"] !== asked.mailId ||
    head["sha256"] !== asked.sha256 ||
    head["settingsHash"] !== asked.settingsHash
  ) {
    return "mismatch";
  }
  if (isPlainClean(head)) return body === undefined ? (head as ResultHead) : "schema";
  const parsed = resultHeadSchema.safeParse(head);
  if (!parsed.success) return "schema";
  const wantsBody = parsed.data.output.kind === "enriched";
  return wantsBody === (body !== undefined) ? parsed.data : "schema";
}

function isPlainClean(head: Record<string, unknown>): boolean {
  const output = head["output"];
  return (
    head["task"] === "virus" &&
    head["engine"] === undefined &&
    head["blind"] === undefined &&
    isDuration(head["queueMs"]) &&
    isDuration(head["workMs"]) &&
    typeof output === "object" &&
    output !== null &&
    (output as { kind?: unknown }).kind === "clean"
  );
}

function isDuration(value: unknown): boolean {
  return typeof value === "number" && value >= 0 && value < Infinity;
}
