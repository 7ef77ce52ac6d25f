import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { merged, type MailChange } from "../../src/life/change.ts";
import { recordAfter, updateOf } from "../../src/store/mail-change.ts";
import { updated } from "../../../test/simulation/kit/database/document.ts";
import { mailIn, verdict } from "./mails.ts";
import { someChange } from "./some-change.ts";

const at = new Date(0);

describe("merged changes", () => {
  it("let the later value win and keep every history entry in order", () => {
    const change = merged(
      { set: { next: "virus" }, verdicts: { virus: verdict }, history: [{ at, event: "planned" }] },
      { set: { next: "spam" }, history: [{ at, event: "strike" }] },
    );
    expect(change.set).toEqual({ next: "spam" });
    expect(change.verdicts).toEqual({ virus: verdict });
    expect(change.history).toEqual([
      { at, event: "planned" },
      { at, event: "strike" },
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
});

const mark = { wrote: "w", rev: 1 };
const form = { v: 1, sha256: "" };

/** The record as the database has it after these writes. */
function stored(changes: readonly MailChange[]): Record<string, unknown> {
  const doc: Record<string, unknown> = { ...mailIn("processing") };
  return changes.reduce((before, change) => {
    const { doc: after } = updated(before as never, updateOf(change, mark));
    return after;
  }, doc);
}

describe("a change", () => {
  it("does to the record in memory what it does in the database", () => {
    fc.assert(
      fc.property(fc.array(someChange, { maxLength: 4 }), (changes) => {
        const { wrote, rev, ...inDatabase } = stored(changes);
        expect(changes.length === 0 || (wrote === "w" && rev === 1)).toBe(true);
        expect(changes.reduce(recordAfter, mailIn("processing"))).toEqual(inDatabase);
      }),
    );
  });

  it("merged with another does what both do one after the other", () => {
    fc.assert(
      fc.property(someChange, someChange, (first, then) => {
        expect(stored([merged(first, then)])).toEqual(stored([first, then]));
      }),
    );
  });

  it("that gives a lease up ends the suspicion against the mail, unless nothing came of it", () => {
    const person = { wrote: "p" };
    expect(updateOf({ releaseLease: true }, mark, form)).toEqual({
      $set: mark,
      $unset: { lease: "", unended: "", alone: "" },
    });
    expect(updateOf({ releaseLease: true, untried: true }, mark, form)).toEqual({
      $set: mark,
      $unset: { lease: "" },
      $inc: { unended: -1 },
    });
    expect(updateOf({ releaseLease: true }, person)).toEqual({
      $set: person,
      $unset: { lease: "" },
      $inc: { rev: 1 },
    });
  });
});
