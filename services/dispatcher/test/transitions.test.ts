import { describe, expect, it } from "vitest";
import { merged } from "../src/transitions.ts";

describe("merged changes", () => {
  const at = new Date(0);

  it("let the later value win and keep every history entry in order", () => {
    const change = merged(
      { set: { next: "virus", "verdicts.virus": 1 }, history: { at, event: "a" } },
      { set: { next: "spam" }, history: [{ at, event: "b" }] },
    );
    expect(change.set).toEqual({ next: "spam", "verdicts.virus": 1 });
    expect(change.history).toEqual([
      { at, event: "a" },
      { at, event: "b" },
    ]);
  });

  it("never set and unset the same field, which the database would refuse", () => {
    expect(merged({ set: { reason: "x" } }, { unset: ["reason"] })).toMatchObject({
      set: {},
      unset: ["reason"],
    });
    expect(merged({ unset: ["next"] }, { set: { next: "spam" } })).toMatchObject({
      set: { next: "spam" },
      unset: [],
    });
  });

  it("give up the lease if one of them does", () => {
    expect(merged({ releaseLease: true }, { set: {} }).releaseLease).toBe(true);
    expect(merged({ set: {} }, { releaseLease: true }).releaseLease).toBe(true);
    expect(merged({ set: {} }, { set: {} }).releaseLease).toBe(false);
  });

  it("a field set below one that is unset goes with it", () => {
    const change = merged({ set: { "verdicts.virus": 1 } }, { unset: ["verdicts"] });
    expect(change.set).toEqual({});
  });
});
