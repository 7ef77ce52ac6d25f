import { afterAll, beforeAll } from "vitest";
import { openWholeSystem, type WholeSystem, type WholeSystemOptions } from "./whole-system.ts";

/** A whole system for all tests of a block; options that need something started are a function. */
export function useWholeSystem(
  options: WholeSystemOptions | (() => Promise<WholeSystemOptions>) = {},
): () => WholeSystem {
  let opened: WholeSystem | undefined;
  beforeAll(async () => {
    opened = await openWholeSystem(typeof options === "function" ? await options() : options);
  });
  afterAll(() => opened?.close());
  return () => {
    if (opened === undefined) throw new Error("the system is not started yet");
    return opened;
  };
}
