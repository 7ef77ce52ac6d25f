import { z } from "zod";
import { runOwnWorker } from "@rs-agent/shared/worker/own-worker.ts";

/** Card numbers: 13 to 19 digits, perhaps in groups, whose last digit is right (ISO/IEC 7812-1). */
const candidates = /\b\d(?:[ -]?\d){12,18}\b/g;

function isCardNumber(text: string): boolean {
  const digits = text.replace(/\D/g, "").split("").reverse().map(Number);
  const sum = digits.reduce((total, digit, place) => {
    const counted = place % 2 === 0 ? digit : digit * 2;
    return total + (counted > 9 ? counted - 9 : counted);
  }, 0);
  return sum % 10 === 0;
}

/** A policy names it: `checks: { cards: { settings: { atLeast: 2 } } }`. */
await runOwnWorker({
  name: "cards",
  version: "1",
  settings: z.strictObject({ atLeast: z.number().int().positive().default(1) }),
  canaries: [
    { mail: "Subject: a\r\n\r\n4111 1111 1111 1111\r\n", settings: {}, finds: "found" },
    { mail: "Subject: b\r\n\r\n4111 1111 1111 1112\r\n", settings: {}, finds: "passed" },
  ],
  handle(mail, { settings, signal }) {
    const text = mail.toString("latin1");
    const numbers = text.match(candidates)?.filter(isCardNumber) ?? [];
    signal.throwIfAborted();
    if (numbers.length < settings.atLeast) return { kind: "passed" };
    return { kind: "found", labels: ["card-number"], score: numbers.length };
  },
});
