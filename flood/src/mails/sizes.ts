import type { Random } from "@rs-agent/kit/random.ts";
import { sharesOf, sizeBytes, wrongOption } from "@rs-agent/kit/options.ts";

/** A share of the mails with sizes from `low` to `high` bytes. */
interface SizeClass {
  low: number;
  high: number;
  share: number;
}

export type Sizes = readonly SizeClass[];

const largest = 100_000_000;

/**
 * `4k`, a range `1k-50k`, or several with shares: `2k-10k:80,100k:20`.
 * @throws TerminalError CFG_INVALID
 */
export function parseSizes(text: string): Sizes {
  const classes = sharesOf("--size", text).map(([range, share]) => {
    const [low, high = low] = range.split("-").map((each) => sizeBytes(each) ?? Number.NaN);
    if (low !== undefined && high !== undefined && low <= high && high <= largest)
      return { low, high, share };
    throw wrongOption("--size", text, "must be sizes such as 4k, 1k-50k or 2k-10k:80,100k:20");
  });
  if (classes.some(({ share }) => share > 0)) return classes;
  throw wrongOption("--size", text, "some share must be above 0");
}

/** Within a class all orders of magnitude are equally likely, as in real mail. */
export function drawSize(sizes: Sizes, random: Random): number {
  let left = random.next() * sizes.reduce((sum, { share }) => sum + share, 0);
  const drawn = sizes.find(({ share }) => (left -= share) < 0) ?? sizes[0];
  if (drawn === undefined) return 0;
  return Math.round(drawn.low * (drawn.high / drawn.low) ** random.next());
}
