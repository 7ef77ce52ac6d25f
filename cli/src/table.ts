import Table from "cli-table3";
import { printable, width } from "./terminal.ts";

const noLines = {
  ...{ top: "", "top-mid": "", "top-left": "", "top-right": "" },
  ...{ bottom: "", "bottom-mid": "", "bottom-left": "", "bottom-right": "" },
  ...{ left: "", "left-mid": "", mid: "", "mid-mid": "", right: "", "right-mid": "", middle: "" },
};

/** Rows in columns, at most 80 wide: text that is too long ends with an ellipsis. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const shown = rows.map((row) => row.map(printable));
  const natural = head.map((title, column) =>
    Math.max(title.length, ...shown.map((row) => (row[column] ?? "").length)),
  );
  const colWidths = fitted(natural).map((length) => length + 2);
  const made = new Table({
    head: [...head],
    chars: noLines,
    colWidths,
    style: { head: [], border: [], "padding-left": 0, "padding-right": 2 },
  });
  made.push(...shown);
  return made
    .toString()
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n");
}

/** The first column names the thing and is not made narrower than this. */
const nameWidth = 32;

/** Narrows the widest columns until all fit within the width, with two blanks after each. */
function fitted(natural: readonly number[]): number[] {
  const [first = 0, ...others] = natural;
  const name = Math.min(first, nameWidth);
  const room = width - name - 2 * others.length;
  for (let over = sum(others) - room; over > 0; over -= 1) {
    const widest = others.indexOf(Math.max(...others));
    others[widest] = (others[widest] ?? 1) - 1;
  }
  return [name, ...others];
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, one) => total + one, 0);
}
