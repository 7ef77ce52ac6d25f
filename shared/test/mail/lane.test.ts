import { expect, it } from "vitest";
import {
  engineOf,
  kindOf,
  laneIn,
  laneOf,
  lanesOf,
  serves,
  workerText,
} from "../../src/mail/lane.ts";
import { ownCheckSchema } from "../../src/checks/own-check.ts";
import { builtInTasks } from "../../src/checks/verdict.ts";

const lanes = builtInTasks.flatMap(lanesOf);
const settings = { maxBytes: 1, oversize: "unchecked" } as const;

it("separates spam tasks by the engine that their settings name, and no others", () => {
  expect(laneOf("spam", settings)).toBe("spam");
  expect(laneOf("spam", { ...settings, engine: "rspamd" })).toBe("spam:rspamd");
  expect(laneOf("virus", { engine: "rspamd" })).toBe("virus");
  expect(laneOf("spam", undefined)).toBe("spam");
});

it("recognizes each lane by a record's next, and a relay route as no lane", () => {
  for (const lane of lanes) expect(laneIn(lane)).toBe(lane);
  for (const next of ["plan", "retry", "spam:", "spam:25|", "rspamd", undefined]) {
    expect(laneIn(next)).toBeUndefined();
  }
  expect(lanes).toEqual(["virus", "spam", "spam:spamd", "spam:rspamd", "enrich"]);
});

it("knows an operator's own checks, each in one lane", () => {
  const dlp = ownCheckSchema.parse("dlp");
  expect(laneIn("dlp")).toBe("dlp");
  expect([kindOf(dlp), engineOf(dlp), lanesOf(dlp)]).toEqual(["dlp", undefined, ["dlp"]]);
  expect(laneOf(dlp, { engine: "rspamd" })).toBe("dlp");
  expect(serves({ kind: dlp }, dlp)).toBe(true);
  expect(serves({ kind: "virus" }, dlp)).toBe(false);
  for (const next of ["127.0.0.1:25|", "DLP", "9dlp", "adopt", "constructor", "a".repeat(33)]) {
    expect(laneIn(next)).toBeUndefined();
  }
});

it("is served by workers of its kind that have its engine", () => {
  const rspamd = { kind: "spam", engine: { name: "rspamd", version: "3.4" } } as const;
  const unknown = { kind: "spam" } as const;
  expect(lanes.filter((lane) => serves(rspamd, lane))).toEqual(["spam", "spam:rspamd"]);
  expect(lanes.filter((lane) => serves(unknown, lane))).toEqual(["spam"]);
  expect(lanes.map((lane) => [kindOf(lane), engineOf(lane)])).toContainEqual(["spam", "spamd"]);
  expect(workerText("spam:rspamd")).toBe("spam worker with rspamd");
});
