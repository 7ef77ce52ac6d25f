/** Narrower than this a terminal breaks lines better itself. */
const narrowest = 40;

/**
 * Prose for a terminal of this many columns: lines end between words, and what follows is indented.
 * Lines stay apart, words whole (a path, a command's name). Undefined: not a terminal, so the program that
 * reads it wants lines as they are.
 */
export function wrapAtWords(text: string, columns: number | undefined): string {
  if (columns === undefined || columns < narrowest) return text;
  return text
    .split("\n")
    .map((line) => wrapLine(line, columns))
    .join("\n");
}

function wrapLine(line: string, columns: number): string {
  const margin = /^ */.exec(line)?.[0] ?? "";
  const lines: string[] = [];
  let current = margin;
  for (const word of line.slice(margin.length).split(" ")) {
    const isFirst = current.trim() === "";
    const longer = isFirst ? `${current}${word}` : `${current} ${word}`;
    if (isFirst || longer.length <= columns) current = longer;
    else {
      lines.push(current);
      current = `${margin}  ${word}`;
    }
  }
  return [...lines, current].join("\n");
}

/** How wide the terminal is that the stream writes to; undefined: it is none. */
export function columnsOf(stream: { isTTY?: boolean; columns?: number }): number | undefined {
  return stream.isTTY === true ? stream.columns : undefined;
}
