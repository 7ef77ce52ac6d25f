import { InvalidArgumentError } from "commander";

/** The value of `--limit`. */
export function parseCount(text: string): number {
  const count = Number(text);
  if (Number.isSafeInteger(count) && count > 0 && count <= 100_000) return count;
  throw new InvalidArgumentError("It must be a number from 1 to 100000.");
}
