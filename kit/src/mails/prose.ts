import type { Random } from "../random.ts";

const words = (
  "the delivery of your order will be with you on Thursday please check list and tell us " +
  "whether all parts have arrived our colleague Maria takes care for it until next week when " +
  "harbour office opens again we thank you kindly for waiting so long and remain with best regards"
).split(" ");

/** A line of a harmless letter: 6 to 12 words. */
export function proseLine(random: Random): string {
  return Array.from({ length: random.between(6, 12) }, () => random.pick(words)).join(" ");
}
