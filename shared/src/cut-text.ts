/**
 * The first `max` characters (UTF-16 units, as our schemas count), without half a surrogate pair at
 * the end: such a half comes back from the database as another character.
 */
export function cutText(text: string, max: number): string {
  return text.slice(0, max).replace(/[\ud800-\udbff]$/, "");
}
