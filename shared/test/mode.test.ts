import { AssertionError } from "node:assert";
import { expect, it } from "vitest";
import { Mode } from "../src/mode.ts";

const modes = { open: [], parting: ["open", "parting"], ended: ["parting"] } as const;

it("enters a mode only from those that its table names, and otherwise names the two modes", () => {
  const mode = new Mode<keyof typeof modes>("a session", modes, "open");
  expect(() => mode.enter("ended")).toThrow("a session is open, it cannot become ended");
  expect(() => mode.enter("ended")).toThrow(AssertionError);
  expect(mode.now).toBe("open");
  for (const next of ["parting", "parting", "ended"] as const) mode.enter(next);
  expect(mode.is("open", "parting")).toBe(false);
  expect(mode.is("open", "ended")).toBe(true);
  expect(() => mode.enter("open")).toThrow("a session is ended, it cannot become open");
  expect(() => mode.expect(["open"], "take a task")).toThrow(
    "a session is ended, it cannot take a task",
  );
});
