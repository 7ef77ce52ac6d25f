import { expect, test } from "vitest";
import { createProgress } from "../src/progress.ts";

test("progress is shown only for what takes longer, at most every two seconds", () => {
  const told: string[] = [];
  let now = 0;
  const tell = createProgress(
    (text) => told.push(text),
    () => now,
  );
  for (now = 0; now <= 7_000; now += 500) tell(`at ${now}`);
  expect(told).toEqual(["at 2000", "at 4000", "at 6000"]);
});
