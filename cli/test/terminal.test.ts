import fc from "fast-check";
import { expect, test } from "vitest";
import { table } from "../src/table.ts";
import { bytes, field, printable, width } from "../src/terminal.ts";
import { age } from "../src/times.ts";

const anyText = fc.string({ unit: "grapheme-ascii", maxLength: 200 });

test("a table is never wider than 80 columns and has a line for each row", () => {
  fc.assert(
    fc.property(
      fc.array(fc.array(anyText, { minLength: 4, maxLength: 4 }), { maxLength: 5 }),
      (rows) => {
        const lines = table(["A", "B", "C", "D"], rows).split("\n");
        expect(Math.max(...lines.map(({ length }) => length))).toBeLessThanOrEqual(width);
        expect(lines).toHaveLength(rows.length + 1);
      },
    ),
  );
});

test("a field is wrapped after its margin and loses no word", () => {
  fc.assert(
    fc.property(anyText, (text) => {
      const lines = field("label", text).split("\n");
      expect(Math.max(...lines.map(({ length }) => length))).toBeLessThanOrEqual(width);
      expect(lines.join("").replace(/\s/g, "")).toBe(`label${text.replace(/\s/g, "")}`);
    }),
  );
});

test("what mail says about itself cannot control the terminal", () => {
  expect(printable("a\u001b[2Jb\r\nc\u009bd\u202ee")).toBe("a [2Jb c d e");
});

test("ages and sizes are short", () => {
  const now = new Date("2026-01-02T00:00:00Z");
  expect(age(new Date("2026-01-01T22:30:00Z"), now)).toBe("1h 30m ago");
  expect(age(new Date("2026-01-02T00:00:05Z"), now)).toBe("in 5s");
  expect([bytes(10), bytes(2048), bytes(5 * 1024 * 1024)]).toEqual(["10 B", "2.0 KB", "5.0 MB"]);
});
