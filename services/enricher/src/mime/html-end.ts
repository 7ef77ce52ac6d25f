/** Elements whose content is text, up to their end tag (WHATWG HTML §13.2.5.2 and following). */
const rawText = /^(?:script|style|title|textarea|xmp|iframe|noembed|noframes)$/;

/**
 * Where something can stand at the end of an HTML text so that a reader sees it: before the last
 * `</body>`, else before the last `</html>`, else at the end. What looks like a tag inside a
 * comment, an attribute or a script does not count. If a comment, tag or script never ends, the
 * place is before it.
 */
export function htmlEnd(html: string): number {
  const ends = new Map<string, number>();
  const lastEnd = () => ends.get("/body") ?? ends.get("/html");
  let at = html.indexOf("<");
  while (at >= 0) {
    const name = tagName(html, at);
    const end = constructEnd(html, at, name);
    if (end === undefined) return lastEnd() ?? at;
    ends.set(name, at);
    at = html.indexOf("<", end);
  }
  return lastEnd() ?? html.length;
}

/** In lower case, an end tag with its slash; "" if there is no tag. */
function tagName(html: string, at: number): string {
  const text = html.slice(at + 1, at + 16);
  return /^\/?[a-z][^\s/>]*/i.exec(text)?.[0].toLowerCase() ?? "";
}

/**
 * Just after the comment, tag or element of raw text that begins at this `<`; undefined if it never
 * ends.
 */
function constructEnd(html: string, at: number, name: string): number | undefined {
  if (name !== "") {
    const end = tagEnd(html, at);
    if (end === undefined || name === "plaintext") return undefined;
    return rawText.test(name) ? behind(html, new RegExp(`(?=</${name}[\\s/>])`, "gi"), end) : end;
  }
  if (html.startsWith("<!--", at)) {
    const abrupt = /^-?>/.exec(html.slice(at + 4, at + 6));
    return abrupt === null ? behind(html, /--!?>/g, at + 4) : at + 4 + abrupt[0].length;
  }
  // Not only <!doctype>: browsers read <!…>, <?…> and </1> as comments.
  return /^[!?/]/.test(html.slice(at + 1, at + 2)) ? behind(html, />/g, at) : at + 1;
}

/**
 * Just after the tag's `>`. One in a quoted attribute value does not count, and only values are
 * ever quoted.
 */
function tagEnd(html: string, at: number): number | undefined {
  const mark = /[>"']/g;
  mark.lastIndex = at;
  for (let found = mark.exec(html); found !== null; found = mark.exec(html)) {
    if (found[0] === ">") return mark.lastIndex;
    if (!isBehindEquals(html, found.index)) continue;
    const close = html.indexOf(found[0], mark.lastIndex);
    if (close < 0) return undefined;
    mark.lastIndex = close + 1;
  }
  return undefined;
}

function isBehindEquals(html: string, at: number): boolean {
  let before = at - 1;
  while (/\s/.test(html[before] ?? "")) before -= 1;
  return html[before] === "=";
}

function behind(html: string, mark: RegExp, from: number): number | undefined {
  mark.lastIndex = from;
  return mark.exec(html) === null ? undefined : mark.lastIndex;
}
