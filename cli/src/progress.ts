/** At most one line in this time, so that quick work shows none. */
const everyMs = 2_000;

/** Tells a waiting person how far something is. */
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
