import { describe, expect, it } from "vitest";
import { judge, judgementText, medianInterval, spreadOf } from "../src/spread.ts";

const upTo = (count: number) => Array.from({ length: count }, (_, n) => n + 1);

describe("the interval of a median", () => {
  it("does not exist below six rounds", () => {
    expect(medianInterval(upTo(5))).toBeUndefined();
    expect(medianInterval([])).toBeUndefined();
  });

  it.each([
    // Two-sided 95 %, from tables of the sign test.
    { rounds: 6, lower: 1, upper: 6 },
    { rounds: 7, lower: 1, upper: 7 },
    { rounds: 8, lower: 1, upper: 8 },
    { rounds: 9, lower: 2, upper: 8 },
    { rounds: 11, lower: 2, upper: 10 },
    { rounds: 12, lower: 3, upper: 10 },
    { rounds: 20, lower: 6, upper: 15 },
    { rounds: 25, lower: 8, upper: 18 },
  ])("of $rounds rounds lies between places $lower and $upper", ({ rounds, lower, upper }) => {
    expect(medianInterval(upTo(rounds).reverse())).toEqual({ lower, upper });
  });
});

describe("a target", () => {
  it("is met by the worse end of the interval, not by the median", () => {
    const values = [0.9, 1.1, 1.1, 1.1, 1.2, 1.2, 1.3];
    expect(spreadOf(values).median).toBe(1.1);
    expect(judge(values, { least: 1 })).toEqual({ target: { least: 1 }, meets: false });
    expect(judge(values, { least: 0.9 })).toEqual({ target: { least: 0.9 }, meets: true });
    expect(judge(values, { most: 1.2 })).toEqual({ target: { most: 1.2 }, meets: false });
    expect(judge(values, { most: 1.3 })).toEqual({ target: { most: 1.3 }, meets: true });
  });

  it("is not judged by too few rounds", () => {
    const judgement = judge([2, 2, 2], { least: 1 });
    expect(judgement.meets).toBe("too few rounds");
    expect(judgementText(judgement)).toBe("target ≥ 1: too few rounds to say");
  });
});
