import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, it } from "vitest";

const root = join(import.meta.dirname, "..");
const page = readFileSync(join(root, "CONTRIBUTING.md"), "utf8");

/** The files that a journey of CONTRIBUTING names: by path, or by name in the folder named last. */
function filesOf(journey: string): string[] {
  const block = page.split(`### ${journey}`)[1]?.split("```")[1] ?? "";
  let folder = "";
  const files = block.split("\n").flatMap((line) => {
    if (/^[\w/-]+$/.test(line)) folder = line;
    let here = folder;
    return (line.match(/[\w./-]+\.ts\b/g) ?? []).map((name) => {
      if (!name.includes("/")) return `${here}/${name}`;
      here = dirname(name);
      return name;
    });
  });
  return [...new Set(files)];
}

it.each([
  ["A mail, from DATA to the hop's 250", 60],
  ["A verdict, from clamd to the record", 21],
])("%s: the journey leads through at most %i files, all of which exist", (journey, most) => {
  const files = filesOf(journey);
  expect(files.filter((file) => !existsSync(join(root, file)))).toEqual([]);
  expect(files.length).toBeGreaterThan(most / 3);
  expect(files.length).toBeLessThanOrEqual(most);
});
