import { expect } from "vitest";

/**
 * Text that a pattern matches, for `toMatchObject`. There a bare RegExp would match anything,
 * because it counts as an object without properties.
 */
export function matching(pattern: RegExp): unknown {
  return expect.stringMatching(pattern);
}
