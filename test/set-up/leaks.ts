import { setTimeout as wait } from "node:timers/promises";
import { afterAll } from "vitest";
import { watchForLeaks } from "../support/leak-check.ts";

/** What was closed needs a moment to go away. */
const goneWithinMs = 5_000;
const leaks = watchForLeaks();

// Hooks run in reverse order, so this runs after those of the file itself and of other set-up.
afterAll(async () => {
  for (let leftMs = goneWithinMs; leftMs > 0 && leaks.left().length > 0; leftMs -= 50) {
    await wait(50);
  }
  const left = leaks.left();
  if (left.length > 0) throw new Error(`left open by this file:\n  ${left.join("\n  ")}`);
});
