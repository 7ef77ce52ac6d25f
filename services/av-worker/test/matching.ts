import { expect } from "vitest";

/**
 * Text that a pattern matches, for `toMatchObject`. A bare RegExp there would match anything: an
 * object without properties.
 */
export function matching(pattern: RegExp): unknown {
  return expect.stringMatching(pattern);
}
