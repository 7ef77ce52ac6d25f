import fc from "fast-check";
import { expect, test } from "vitest";
import { columnsOf, wrapAtWords } from "../src/wrap-at-words.ts";

test("lines end between words, what follows is indented, and the text's own lines stay separate", () => {
  const text =
    "CLI_REFUSED: 4f0a is dead: only mail that is quarantined or held can be released\n  a list";
  expect(wrapAtWords(text, 40)).toBe(
    "CLI_REFUSED: 4f0a is dead: only mail\n  that is quarantined or held can be\n  released\n  a list",
  );
});

test("without a terminal, and on one too narrow for it, a line is a line", () => {
  const text = "word ".repeat(40);
  expect(wrapAtWords(text, undefined)).toBe(text);
  expect(wrapAtWords(text, 20)).toBe(text);
  expect(columnsOf({ columns: 80 })).toBeUndefined();
  expect(columnsOf({ isTTY: true, columns: 80 })).toBe(80);
});

test("no word is cut or lost, and only a word that is longer itself makes a line too long", () => {
  const words = fc.array(fc.stringMatching(/^[!-~]{1,60}$/), { minLength: 1, maxLength: 30 });
  fc.assert(
    fc.property(words, (given) => {
      const lines = wrapAtWords(given.join(" "), 40).split("\n");
      expect(lines.flatMap((line) => line.trim().split(" "))).toEqual(given);
      for (const line of lines.filter((one) => one.length > 40)) {
        expect(line.trim()).not.toContain(" ");
      }
    }),
  );
});
