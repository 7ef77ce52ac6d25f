/** A mailbox's address in a field body (RFC 5322 §3.4), without the display name. */
export interface AddressPlace {
  start: number;
  end: number;
  /** The address without comments. */
  text: string;
  /** The comments inside the address. */
  comments: string[];
}

interface Range {
  start: number;
  end: number;
}

/** What one scan of a field body finds. */
interface Scan {
  /** The body with each character of a comment replaced by a blank. */
  bare: string;
  comments: Range[];
  /** What stands between the separators of the list and of its groups. */
  elements: Range[];
  /** From after each `<` to its `>`. */
  angles: Range[];
}

/**
 * Where the addresses of From, Sender and the like stand, in order; an empty element has none.
 * Commas, colons and brackets inside quoted strings and comments do not separate. If the body is
 * not a list of mailboxes, the places may be wrong: a caller that changes the field must parse the
 * result again.
 */
export function addressPlaces(body: string): AddressPlace[] {
  const { bare, comments, elements, angles } = scanned(body);
  return elements.flatMap((element) => {
    const angle = angles.findLast(({ start, end }) => start > element.start && end <= element.end);
    const { start, end } = trimmed(bare, angle ?? lastWord(bare, element));
    if (start === end) return [];
    const within = comments.filter((one) => one.start >= start && one.end <= end);
    return {
      start,
      end,
      text: bare.slice(start, end),
      comments: within.map((one) => body.slice(one.start, one.end)),
    };
  });
}

function scanned(body: string): Scan {
  const bare = [...Array<string>(body.length)];
  const scan: Omit<Scan, "bare"> = { comments: [], elements: [], angles: [] };
  let depth = 0;
  let isQuoted = false;
  let [commentStart, angleStart, elementStart] = [0, 0, 0];
  for (let at = 0; at < body.length; at += 1) {
    const character = body[at] as string;
    bare[at] = depth > 0 || (character === "(" && !isQuoted) ? " " : character;
    if (character === "\\" && (depth > 0 || isQuoted) && at + 1 < body.length) {
      at += 1;
      bare[at] = depth > 0 ? " " : (body[at] as string);
    } else if (depth > 0) {
      depth += character === "(" ? 1 : character === ")" ? -1 : 0;
      if (depth === 0) scan.comments.push({ start: commentStart, end: at + 1 });
    } else if (character === '"') {
      isQuoted = !isQuoted;
    } else if (!isQuoted && character === "(") {
      depth = 1;
      commentStart = at;
    } else if (!isQuoted && character === "<") {
      angleStart = at + 1;
    } else if (!isQuoted && character === ">" && angleStart > 0) {
      scan.angles.push({ start: angleStart, end: at });
      angleStart = 0;
    } else if (!isQuoted && angleStart === 0 && /[,;:]/.test(character)) {
      scan.elements.push({ start: elementStart, end: at });
      elementStart = at + 1;
    }
  }
  scan.elements.push({ start: elementStart, end: body.length });
  return { ...scan, bare: bare.join("") };
}

/** An address without brackets may follow a name (`Ann ann@a.example`), if only by mistake. */
function lastWord(bare: string, { start, end }: Range): Range {
  const element = bare.slice(start, end);
  const [word] = /[^\s"]+@[^\s"]+(?=\s*$)/.exec(element) ?? [];
  if (word === undefined) return { start, end };
  const at = start + element.lastIndexOf(word);
  return { start: at, end: at + word.length };
}

function trimmed(bare: string, { start, end }: Range): Range {
  const text = bare.slice(start, end);
  const from = start + text.length - text.trimStart().length;
  return {
    start: Math.min(from, end),
    end: Math.max(Math.min(from, end), start + text.trimEnd().length),
  };
}
