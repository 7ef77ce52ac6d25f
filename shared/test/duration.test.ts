import { expect, test } from "vitest";
import { durationMs, formatDuration } from "../src/duration.ts";

test.each([
  ["250ms", 250],
  ["30s", 30_000],
  ["5m", 300_000],
  ["4h", 14_400_000],
  ["7d", 604_800_000],
])("%s is %d ms", (text, ms) => {
  expect(durationMs(text)).toBe(ms);
  expect(formatDuration(ms)).toBe(text);
});

test.each(["5", "h", "-1h", "1.5h", "4 h", "4h30m", ""])("%j is not a duration", (text) => {
  expect(() => durationMs(text)).toThrow(RangeError);
});

test("a time span shows its two biggest units", () => {
  expect(formatDuration(93_784_000)).toBe("1d 2h");
  expect(formatDuration(3_605_000)).toBe("1h");
  expect(formatDuration(61_000)).toBe("1m 1s");
  expect(formatDuration(0)).toBe("0ms");
});
