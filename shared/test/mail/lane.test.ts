import { expect, it } from "vitest";
import {
  engineOf,
  kindOf,
  laneIn,
  laneOf,
  lanes,
  lanesOf,
  serves,
  workerText,
} from "../../src/mail/lane.ts";
import { taskKinds } from "../../src/checks/verdict.ts";

const settings = { maxBytes: 1, oversize: "unchecked" } as const;

it("parts spam tasks by the engine that their settings name, and no others", () => {
  expect(laneOf("spam", settings)).toBe("spam");
  expect(laneOf("spam", { ...settings, engine: "rspamd" })).toBe("spam:rspamd");
  expect(laneOf("virus", { engine: "rspamd" })).toBe("virus");
  expect(laneOf("spam", undefined)).toBe("spam");
});

it("knows each lane again by a record's next, and a relay route as none", () => {
  for (const lane of lanes) expect(laneIn(lane)).toBe(lane);
  for (const next of ["plan", "retry", "spam:", "spam:25|", "rspamd", undefined]) {
    expect(laneIn(next)).toBeUndefined();
  }
  expect(taskKinds.flatMap((kind) => lanesOf(kind)).sort()).toEqual([...lanes].sort());
});

it("is served by workers of its kind that have its engine", () => {
  const rspamd = { kind: "spam", engine: { name: "rspamd", version: "3.4" } } as const;
  const unknown = { kind: "spam" } as const;
  expect(lanes.filter((lane) => serves(rspamd, lane))).toEqual(["spam", "spam:rspamd"]);
  expect(lanes.filter((lane) => serves(unknown, lane))).toEqual(["spam"]);
  expect(lanes.map((lane) => [kindOf(lane), engineOf(lane)])).toContainEqual(["spam", "spamd"]);
  expect(workerText("spam:rspamd")).toBe("spam worker with rspamd");
});
