import Table from "cli-table3";
import { formatDuration } from "@rs-agent/shared/policy/duration.ts";

/** Output fits a terminal of this width; who needs more takes `--json`. */
export const width = 80;

/** Where a command writes its result. */
export interface Output {
  /** One line or several, without the last line end. */
  print(text: string): void;
  /** A result for machines. */
  json(value: unknown): void;
  /** Bytes as they are. */
  bytes(value: Buffer): void;
  /** One thing of several that went wrong, beside the result. */
  complain(text: string): void;
}

export function createOutput(
  write: (text: string | Buffer) => void,
  writeError: (text: string) => void,
): Output {
  return {
    bytes: write,
    complain: (text) => writeError(`${text}\n`),
    print: (text) => write(`${text}\n`),
    json: (value) => write(`${JSON.stringify(value, withoutBytes, 2)}\n`),
  };
}

/** Raw bytes (a header block) are of no use as a list of numbers. */
function withoutBytes(_key: string, value: unknown): unknown {
  const isBuffer =
    typeof value === "object" && value !== null && "type" in value && value.type === "Buffer";
  return isBuffer ? undefined : value;
}

const noLines = {
  ...{ top: "", "top-mid": "", "top-left": "", "top-right": "" },
  ...{ bottom: "", "bottom-mid": "", "bottom-left": "", "bottom-right": "" },
  ...{ left: "", "left-mid": "", mid: "", "mid-mid": "", right: "", "right-mid": "", middle: "" },
};

/** Rows in columns, at most 80 wide: what is too long ends with an ellipsis. */
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

/** The first column names the thing and is not narrowed below this. */
const nameWidth = 32;

/** Narrows the widest columns until two blanks after each leave it within the width. */
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

/** What mail says of itself must not steer a terminal: no control characters. */
export function printable(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]+/g, " ");
}

/** A label and its text, wrapped behind a margin as wide as the label column; its lines stay apart. */
export function field(label: string, text: string, margin = 12): string {
  const lines = text
    .trim()
    .split(/\r?\n/)
    .flatMap((line) => wrapped(printable(line).trimEnd(), width - margin));
  return lines
    .map((line, at) => `${(at === 0 ? label : "").padEnd(margin)}${line}`.trimEnd())
    .join("\n");
}

function wrapped(text: string, limit: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(/ +/).flatMap((one) => pieces(one, limit))) {
    if (line !== "" && line.length + 1 + word.length > limit) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line];
}

function pieces(word: string, limit: number): string[] {
  if (word.length <= limit) return [word];
  return [word.slice(0, limit), ...pieces(word.slice(limit), limit)];
}

/** Lines indented and wrapped. */
export function indented(text: string, margin = 4): string {
  return field("", text, margin);
}

/** `2026-01-31 12:00:00Z`: UTC, as the logs have it. */
export function instant(at: Date): string {
  return `${at.toISOString().slice(0, 19).replace("T", " ")}Z`;
}

/** A time span, the finer the shorter it is: `12ms`, `3.4s`, `5m 20s`. */
export function span(ms: number): string {
  if (ms < 999.5 || ms >= 9_950) return formatDuration(ms);
  return `${(ms / 1_000).toFixed(1)}s`;
}

/** How long ago, or how far away; what is within a second is now. */
export function age(at: Date, now: Date): string {
  const ms = now.getTime() - at.getTime();
  if (Math.abs(ms) < 1_000) return "now";
  return ms >= 0 ? `${formatDuration(ms)} ago` : `in ${formatDuration(-ms)}`;
}

export function bytes(size: number): string {
  if (size < 1024) return `${String(size)} B`;
  if (size < 1024 * 1024) return `${(size / 1024).toFixed(1)} KB`;
  return `${(size / 1024 / 1024).toFixed(1)} MB`;
}
