import fc from "fast-check";
import { expect, test } from "vitest";
import { parseResult } from "../../src/bus/result-check.ts";
import { parseTask } from "../../src/bus/task-check.ts";
import { resultHeadSchema, taskHeadSchema } from "../../src/bus/wire.ts";
import { vectorHeads } from "./wire-vectors.ts";

/**
 * The commonest heads are recognized without the schema. These tests hold the short cut to the
 * schema: whatever the short cut lets through, the schema lets through too, unchanged.
 */
const odd = fc.oneof(
  fc.constant(undefined),
  fc.constant(null),
  fc.constantFrom("", "ab", "AB".repeat(16), "x".repeat(400), "ab".repeat(32), "cd".repeat(16)),
  fc.constantFrom(0, -1, 1.5, NaN, Infinity, 2 ** 60, true),
  fc.constantFrom<unknown>({}, [], [1], ["a"], { kind: "clean" }, { kind: "fine" }, new Map()),
  fc.constantFrom<unknown>({ mailFrom: "a", rcptTo: [1], client: {} }, { id: "s", path: "p" }),
);

/** The head with one to three fields replaced, at a depth of one or two. */
function damaged(head: Record<string, unknown>) {
  const paths = Object.entries(head).flatMap(([key, value]) => [
    [key],
    ...(typeof value === "object" && value !== null && !Array.isArray(value)
      ? Object.keys(value).map((inner) => [key, inner])
      : []),
  ]);
  const change = fc.tuple(fc.constantFrom(...paths), odd);
  return fc.array(change, { minLength: 1, maxLength: 3 }).map((changes) => {
    const copy = structuredClone(head);
    for (const [[outer = "", inner], value] of changes) {
      const at = inner === undefined ? copy : copy[outer];
      if (typeof at === "object" && at !== null && !Array.isArray(at)) {
        (at as Record<string, unknown>)[inner ?? outer] = structuredClone(value);
      }
    }
    return copy;
  });
}

test("a task is let through exactly when it fits the schema (I9)", () => {
  expect(parseTask(vectorHeads.task)).toEqual(vectorHeads.task);
  // These four are compared with the open session before the check.
  const compared = { v: 1, from: "d", session: "5e".repeat(16), kind: "task", bytes: 5 };
  fc.assert(
    fc.property(damaged(vectorHeads.task), (head) => {
      const checked = { ...head, ...compared };
      expect(parseTask(checked)).toEqual(taskHeadSchema.safeParse(checked).data);
    }),
    { numRuns: 5_000 },
  );
});

test("a result is let through exactly when it echoes what was asked and fits the schema (I4, I9)", () => {
  const { mailId, sha256, settingsHash } = vectorHeads.result;
  const asked = { kind: "virus" as const, mailId, sha256, settingsHash };
  expect(parseResult(vectorHeads.result, undefined, asked)).toEqual(vectorHeads.result);
  const { v, from, kind, session, taskId } = vectorHeads.result;
  fc.assert(
    fc.property(damaged(vectorHeads.result), (head) => {
      const checked = { ...head, v, from, kind, session, taskId };
      const result = parseResult(checked, undefined, asked);
      const echoes =
        head["task"] === "virus" &&
        head["mailId"] === mailId &&
        head["sha256"] === sha256 &&
        head["settingsHash"] === settingsHash;
      const fitting = resultHeadSchema.safeParse(checked).data ?? "schema";
      expect(result).toEqual(echoes ? fitting : "mismatch");
    }),
    { numRuns: 5_000 },
  );
});
