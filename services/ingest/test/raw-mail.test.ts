import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { canonicalize } from "@rs-agent/shared/mail/canonical.ts";
import { createMemoryBudget } from "../src/memory-budget.ts";
import { RawMail } from "../src/raw-mail.ts";

const field = Buffer.from("Received: x\r\n");

describe("RawMail", () => {
  it("puts the field before the canonical bytes, whatever the chunks", () => {
    const chunks = fc.array(fc.uint8Array({ maxLength: 3_000 }), { maxLength: 40 });
    fc.assert(
      fc.property(chunks, (parts) => {
        const budget = createMemoryBudget(10_000_000);
        const raw = new RawMail(1_000_000, budget);
        for (const part of parts) raw.push(Buffer.from(part));
        const expected = canonicalize(Buffer.concat(parts));
        const canonical = raw.canonical();
        expect(canonical.equals(expected)).toBe(true);
        const whole = raw.withReceived(field, canonical);
        expect(whole.equals(Buffer.concat([field, expected]))).toBe(true);
        raw.release();
        expect(budget.used).toBe(0);
      }),
    );
  });

  it("keeps nothing of a mail that is too large, and gives its memory back", () => {
    const budget = createMemoryBudget(10_000_000);
    const raw = new RawMail(50_000, budget);
    raw.push(Buffer.alloc(50_000, "x"));
    expect(raw.overflow).toBeUndefined();
    raw.push(Buffer.from("y"));
    expect([raw.overflow, budget.used]).toEqual(["too-large", 0]);
    raw.push(Buffer.from("z"));
    raw.release();
    expect(budget.used).toBe(0);
  });

  it("takes no more memory than the budget has (I7)", () => {
    const budget = createMemoryBudget(100_000);
    const first = new RawMail(1_000_000, budget);
    first.push(Buffer.alloc(60_000, "x"));
    const second = new RawMail(1_000_000, budget);
    second.push(Buffer.alloc(60_000, "x"));
    expect([first.overflow, second.overflow]).toEqual([undefined, "too-much-in-flight"]);
    first.release();
    expect(budget.used).toBe(0);
  });

  it("costs the memory of its bytes, not of its chunks", () => {
    const budget = createMemoryBudget(10_000_000);
    const raw = new RawMail(1_000_000, budget);
    for (let count = 0; count < 100_000; count += 1) raw.push(Buffer.from(".\r\n"));
    expect(budget.used).toBeLessThan(700_000);
  });
});
