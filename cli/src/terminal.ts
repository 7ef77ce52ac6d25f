import { wrapAtWords } from "@rs-agent/shared/wrap-at-words.ts";

/** Output fits a terminal of this width; `--json` gives more. */
export const width = 80;

/** Where a command writes its result. */
export interface Output {
  /** One line or several, without the last line end. */
  print(text: string): void;
  /** The same for prose: on a terminal, its lines break between words. */
  tell(text: string): void;
  /** A result for machines. */
  json(value: unknown): void;
  /** Bytes as they are. */
  bytes(value: Buffer): void;
  /** One of several things that went wrong, apart from the result. */
  complain(text: string): void;
}

/** `columns`: the widths of the terminals that results and complaints go to, if they do. */
export function createOutput(
  write: (text: string | Buffer) => void,
  writeError: (text: string) => void,
  columns: { out?: number | undefined; error?: number | undefined } = {},
): Output {
  return {
    bytes: write,
    complain: (text) => writeError(`${wrapAtWords(text, columns.error)}\n`),
    tell: (text) => write(`${wrapAtWords(text, columns.out)}\n`),
    print: (text) => write(`${text}\n`),
    json: (value) => write(`${JSON.stringify(value, withoutBytes, 2)}\n`),
  };
}

/** Raw bytes (a header block) are useless as a list of numbers. */
function withoutBytes(_key: string, value: unknown): unknown {
  const isBuffer =
    typeof value === "object" && value !== null && "type" in value && value.type === "Buffer";
  return isBuffer ? undefined : value;
}

/** What mail says must not control a terminal: no control characters. */
export function printable(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]+/g, " ");
}

/**
 * A label and its text, wrapped to the right of the label column; the text's own lines stay
 * separate.
 */
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

/** `1 mail`, `2 mails`. */
export function counted(count: number, noun: string): string {
  return `${String(count)} ${noun}${count === 1 ? "" : "s"}`;
}

/** Indents and wraps the text. */
export function indented(text: string, margin = 4): string {
  return field("", text, margin);
}

export function bytes(size: number): string {
  if (size < 1024) return `${String(size)} B`;
  if (size < 1024 * 1024) return `${(size / 1024).toFixed(1)} KB`;
  if (size < 10 * 1024 ** 3) return `${(size / 1024 ** 2).toFixed(1)} MB`;
  return `${(size / 1024 ** 3).toFixed(1)} GB`;
}
