import { describe, expect, it } from "vitest";
import { Budget } from "../src/budget.ts";

describe("a budget", () => {
  it("is first come, first served, and what is larger than the budget waits until all of it is free", async () => {
    const budget = new Budget(10);
    const order: string[] = [];
    const give = await budget.take(6);
    const large = budget.take(50).then((giveBack) => {
      order.push("large");
      return giveBack;
    });
    const small = budget.take(1).then(() => order.push("small"));
    give?.();
    give?.();
    const giveLarge = await large;
    expect(order).toEqual(["large"]);
    giveLarge?.();
    await small;
    expect(order).toEqual(["large", "small"]);
  });

  it("releases a waiter that gives up, and those behind it", async () => {
    const budget = new Budget(10);
    await budget.take(6);
    const impatient = new AbortController();
    const first = budget.take(8, impatient.signal);
    const second = budget.take(4);
    impatient.abort();
    expect(await first).toBeUndefined();
    expect(await second).toBeTypeOf("function");
  });
});
