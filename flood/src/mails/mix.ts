import { randomOf } from "@rs-agent/kit/random.ts";
import { sharesOf, wrongOption } from "@rs-agent/kit/options.ts";

/** What a mail is made of, and thus what should become of it. */
export const mailKinds = ["clean", "spam", "virus", "big", "corpus"] as const;
export type MailKind = (typeof mailKinds)[number];

/** Shares of the kinds, as whole numbers. */
export type Mix = ReadonlyMap<MailKind, number>;

/** @throws TerminalError CFG_INVALID */
export function parseMix(text: string): Mix {
  const mix = new Map<MailKind, number>();
  for (const [name, share] of sharesOf("--mix", text)) {
    const kind = mailKinds.find((each) => each === name);
    if (kind === undefined) throw wrongOption("--mix", text, `knows ${mailKinds.join(", ")}`);
    mix.set(kind, (mix.get(kind) ?? 0) + share);
  }
  if (sumOf(mix) > 0) return mix;
  throw wrongOption("--mix", text, "some share must be above 0");
}

const keptDeals = 1_000;

/**
 * The kind of each mail: among as many mails as the shares add up to, each kind has exactly its
 * share, in an order determined by the seed.
 */
export function kindsOf(mix: Mix, seed: number): (number: number) => MailKind {
  const deck = [...mix].flatMap(([kind, share]) => Array.from({ length: share }, () => kind));
  const deals = new Map<number, readonly MailKind[]>();
  return (number) => {
    const deal = Math.floor(number / deck.length);
    let order = deals.get(deal);
    if (order === undefined) {
      order = randomOf(seed, "mix", deal).shuffled(deck);
      deals.set(deal, order);
      // Sender and sink ask for mails whose numbers are close together.
      if (deals.size > keptDeals) deals.delete(deals.keys().next().value ?? deal);
    }
    return order[number % deck.length] as MailKind;
  };
}

function sumOf(mix: Mix): number {
  return [...mix.values()].reduce((sum, share) => sum + share, 0);
}
