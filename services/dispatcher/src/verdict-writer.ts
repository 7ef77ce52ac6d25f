import type { HeldMail } from "./held-mail.ts";

/**
 * Writes fresh verdicts together, after `afterMs` and before twice that, unless the mail's end has
 * written them already.
 */
export function createVerdictWriter(
  afterMs: number,
  write: (held: HeldMail) => void,
): { add(held: HeldMail): void } {
  let fresh = new Set<HeldMail>();
  let due = new Set<HeldMail>();
  const flush = () => {
    for (const held of due) if (!held.over && held.pending !== undefined) write(held);
    due = fresh;
    fresh = new Set();
    if (due.size > 0) setTimeout(flush, afterMs);
  };
  return {
    add(held) {
      if (fresh.size + due.size === 0) setTimeout(flush, afterMs);
      if (!due.has(held)) fresh.add(held);
    },
  };
}
