import { setTimeout as wait } from "node:timers/promises";
import { messageOf } from "@rs-agent/shared/errors.ts";

/** @throws Error naming what does not hold */
export function expectThat(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Error(`this does not hold: ${what}`);
}

/** Asks until it does not throw; after `withinMs` it throws the last error. */
export async function eventually<T>(
  what: string,
  withinMs: number,
  ask: () => Promise<T>,
): Promise<T> {
  const giveUpAt = performance.now() + withinMs;
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (performance.now() > giveUpAt) {
        throw new Error(`${what}, not within ${withinMs / 1_000} s: ${messageOf(error)}`, {
          cause: error,
        });
      }
      await wait(500);
    }
  }
}
