import { existsSync, readFileSync } from "node:fs";
import type { Random } from "@rs-agent/kit/random.ts";
import { addressPathSchema } from "@rs-agent/shared/mail/smtp-envelope.ts";
import { wrongOption } from "@rs-agent/kit/options.ts";
import { idOf } from "./numbering.ts";

/**
 * Whom the mail is for: domains, in which each mail has recipients of its own, or whole addresses.
 */
export type Tenants = readonly [string, ...string[]];

const entry = /^(?:[^\s@<>]+@)?(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?\.)*[A-Za-z0-9-]+$/;

/**
 * Domains or addresses, separated by commas, or a file with one per line (`#` begins a comment).
 * @throws TerminalError CFG_INVALID
 */
export function parseTenants(given: string): Tenants {
  const text = existsSync(given) ? readFileSync(given, "utf8").replace(/#.*$/gm, "") : given;
  const [first, ...others] = text.split(/[\s,]+/).filter((each) => each !== "");
  if (first === undefined) throw wrongOption("--tenants", given, "names no domain");
  const wrong = [first, ...others].find(
    (each) => !entry.test(each) || !addressPathSchema.safeParse(each).success,
  );
  if (wrong === undefined) return [first, ...others];
  throw wrongOption("--tenants", given, `${wrong} is neither a domain, nor an address, nor a file`);
}

/** How many recipients a mail has. */
export interface RecipientCount {
  low: number;
  high: number;
}

/** With this limit, what is known of a mail's recipients fits into a byte. */
export const mostRecipients = 8;

/**
 * `1`, `1-3`.
 * @throws TerminalError CFG_INVALID
 */
export function parseRecipientCount(text: string): RecipientCount {
  const [, one = "", other = one] = /^([1-8])(?:-([1-8]))?$/.exec(text) ?? [];
  const [low, high] = [Number(one), Number(other)];
  if (low >= 1 && low <= high) return { low, high };
  throw wrongOption(
    "--recipients",
    text,
    `must be a number or a range such as 1 or 1-3, at most ${mostRecipients}`,
  );
}

/** No address occurs twice. Whole addresses that were given are used in turn. */
export function recipientsOf(
  tenants: Tenants,
  { low, high }: RecipientCount,
  mail: { run: string; number: number },
  random: Random,
): string[] {
  const count = random.between(low, high);
  const from = random.between(0, tenants.length - 1);
  const all = Array.from({ length: count }, (_, nth) => {
    const tenant = tenants[(from + nth) % tenants.length] as string;
    return tenant.includes("@") ? tenant : `to.${idOf(mail.run, mail.number)}.${nth}@${tenant}`;
  });
  return [...new Set(all)];
}
