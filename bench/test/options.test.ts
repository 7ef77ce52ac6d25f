import { describe, expect, it } from "vitest";
import { parseOptions } from "../src/options.ts";

const defaults = { rounds: 7, seconds: 5, size: [4_096, 51_200] } as const;

describe("a benchmark's options", () => {
  it("are numbers, each with its default", () => {
    expect(parseOptions([], defaults)).toEqual({ ...defaults, json: false });
    const given = ["--rounds", "11", "--seconds", "0.5", "--size", "200,4096", "--json"];
    expect(parseOptions(given, defaults)).toEqual({
      rounds: 11,
      seconds: 0.5,
      size: [200, 4_096],
      json: true,
    });
  });

  it.each([
    ["--rounds", "x", "--rounds x: must be a whole number from 1 to 999999999"],
    ["--rounds", "1.5", "--rounds 1.5: must be a whole number from 1 to 999999999"],
    ["--rounds", "0", "--rounds 0: must be a whole number from 1 to 999999999"],
    ["--seconds", "", "--seconds: must be a number above 0, up to 999999999"],
    ["--size", "4096,", "--size: must be a whole number from 1 to 999999999"],
    ["--sizes", "4096", "Unknown option '--sizes'"],
  ])("%s %s is refused, with what would be right", (name, value, text) => {
    expect(() => parseOptions([name, value], defaults)).toThrow(text);
  });
});
