import { taskHeadSchema, type TaskHead } from "./wire.ts";

/**
 * Parses a task head whose `v`, `from`, `session` and `bytes` were compared with what is known
 * already. The commonest task, a virus check by stream, is recognised by hand: it must then fit the
 * schema as it is. Undefined: it does not fit.
 */
export function parseTask(head: Record<string, unknown>): TaskHead | undefined {
  if (isPlainVirusTask(head)) return head as TaskHead;
  const parsed = taskHeadSchema.safeParse(head);
  return parsed.success ? parsed.data : undefined;
}

function isPlainVirusTask(head: Record<string, unknown>): boolean {
  return (
    head["task"] === "virus" &&
    head["spool"] === undefined &&
    head["alone"] === undefined &&
    head["traceparent"] === undefined &&
    isHex(head["taskId"], 32) &&
    isHex(head["sha256"], 64) &&
    isText(head["settingsHash"], 32, 32) &&
    isText(head["mailId"], 1, 64) &&
    isCount(head["sequence"], 1) &&
    isCount(head["attempt"], 1) &&
    isCount(head["size"], 0) &&
    isPositive(head["deadlineMs"]) &&
    isMap(head["settings"]) &&
    isPlainSmtpEnvelope(head["smtp"])
  );
}

function isPlainSmtpEnvelope(smtp: unknown): boolean {
  if (!isMap(smtp) || smtp["params"] !== undefined) return false;
  const { mailFrom, rcptTo, client } = smtp;
  return (
    isText(mailFrom, 0, 320) &&
    Array.isArray(rcptTo) &&
    rcptTo.length <= 10_000 &&
    rcptTo.every((address) => isText(address, 0, 320)) &&
    isMap(client) &&
    isText(client["address"], 0, 64) &&
    isText(client["name"], 0, 255) &&
    isText(client["helo"], 0, 255)
  );
}

function isMap(value: unknown): value is Record<string, unknown> {
  return (
    typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype
  );
}

function isText(value: unknown, least: number, most: number): boolean {
  return typeof value === "string" && value.length >= least && value.length <= most;
}

const hex = /^[0-9a-f]*$/;

function isHex(value: unknown, digits: number): boolean {
  return typeof value === "string" && value.length === digits && hex.test(value);
}

function isCount(value: unknown, least: number): boolean {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= least;
}

function isPositive(value: unknown): boolean {
  return typeof value === "number" && value > 0 && value < Infinity;
}
