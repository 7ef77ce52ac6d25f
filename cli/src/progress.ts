/** A line at most so often, and none of what takes no longer. */
const everyMs = 2_000;

/** Tells who waits how far something is. */
export function createProgress(
  tell: (text: string) => void,
  now: () => number = () => performance.now(),
): (text: string) => void {
  let toldAt = now();
  return (text) => {
    if (now() - toldAt < everyMs) return;
    toldAt = now();
    tell(text);
  };
}
