import type { HeldMail } from "./held-mail.ts";

/** Writes fresh verdicts a moment later, together, unless the mail's end has written them already. */
export function createVerdictWriter(
  afterMs: number,
  write: (held: HeldMail) => void,
): { add(held: HeldMail): void } {
  let fresh = new Set<HeldMail>();
  const flush = () => {
    const now = fresh;
    fresh = new Set();
    for (const held of now) if (!held.over && held.pending !== undefined) write(held);
  };
  return {
    add(held) {
      if (fresh.size === 0) setTimeout(flush, afterMs);
      fresh.add(held);
    },
  };
}
