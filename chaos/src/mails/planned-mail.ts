import { randomOf, type Random } from "@rs-agent/kit/random.ts";
import type { Outcome } from "@rs-agent/shared/life/outcomes.ts";

/** What a mail is there to show. */
export const mailKinds = [
  "clean",
  "outgoing",
  "big",
  "split",
  "infected",
  "spam",
  "tagged-spam",
  "split-spam",
  "refused",
  "rejected",
  "no-sender",
  "double-bounce",
  "own-virus",
  "poison",
] as const;
export type MailKind = (typeof mailKinds)[number];

/** What a poisoned mail kills whenever it gets the mail. */
export const victims = [
  "relay",
  "av-worker",
  "clamd",
  "dispatcher",
  "spam-engine",
  "enricher",
  "spam-worker",
] as const;
export type Victim = (typeof victims)[number];

/** What must become of one recipient. */
export interface ExpectedRecipient {
  address: string;
  outcome: Exclude<Outcome, "open" | "discarded">;
  /**
   * The raw mail must arrive whole after our fields; if `tagged` only the body, because its subject
   * is changed.
   */
  arrives: "whole" | "tagged";
}

/** One mail of a run, determined by the run's seed and the mail's number. */
export interface PlannedMail {
  readonly number: number;
  readonly kind: MailKind;
  /** By SMTP, or inserted into a source collection. */
  readonly via: "smtp" | "source";
  /** Its client's address: a stranger's, or one in the tenant's networks. */
  readonly direction: "incoming" | "outgoing";
  /** "" is the null sender. */
  readonly mailFrom: string;
  readonly recipients: readonly ExpectedRecipient[];
  /** Its sender's domain lists other clients as its own, so nobody may be told that it failed. */
  readonly isForged: boolean;
  /** Bytes of the attachment of a big mail, else 0. */
  readonly attachmentBytes: number;
  /** Only for a poisoned mail. */
  readonly kills?: Victim;
}

export const domains = {
  /** Our tenant's, under its rules. */
  north: "north.chaos.example",
  /** Our tenant's too: here spam is tagged and delivered. */
  south: "south.chaos.example",
  /** Strangers. */
  stranger: "stranger.example",
  /** Strangers too, whose name others forge. */
  forged: "forged.example",
} as const;

/** One mail in this many is poisoned, and the victims take turns. */
const poisonEvery = 250;
/** Of the others, per thousand. */
const shares: Readonly<Record<Exclude<MailKind, "poison">, number>> = {
  clean: 470,
  outgoing: 120,
  big: 10,
  split: 100,
  infected: 80,
  spam: 60,
  "tagged-spam": 50,
  "split-spam": 30,
  refused: 40,
  rejected: 10,
  "no-sender": 15,
  "double-bounce": 5,
  "own-virus": 10,
};
const sourceShare = 0.2;

export function planMail(seed: number, number: number): PlannedMail {
  const random = randomOf(seed, "mail", number);
  const kills = victimOf(seed, number);
  const kind = kills === undefined ? kindOf(random) : "poison";
  const direction = kind === "outgoing" || kind === "own-virus" ? "outgoing" : "incoming";
  const isBig = kind === "big";
  // A record in a source has no listener and so no network: its client decides its direction too.
  // Big mail and poison come by SMTP: poison must not kill a dispatcher before it is a mail.
  const via = !isBig && kills === undefined && random.chance(sourceShare) ? "source" : "smtp";
  const noSender = kind === "no-sender" || kind === "double-bounce";
  const isForged = (kind === "refused" || kind === "rejected") && number % 2 === 0;
  const stranger = isForged ? domains.forged : domains.stranger;
  const senderDomain = direction === "outgoing" ? domains.north : stranger;
  return {
    number,
    kind,
    via,
    direction,
    mailFrom: noSender ? "" : `from.${number}@${senderDomain}`,
    recipients: recipientsOf(kind, number, random),
    isForged,
    attachmentBytes: isBig ? random.between(1_000_000, 5_000_000) : 0,
    ...(kills === undefined ? {} : { kills }),
  };
}

function victimOf(seed: number, number: number): Victim | undefined {
  if (number % poisonEvery !== Math.floor(poisonEvery / 2)) return undefined;
  return victims[(Math.floor(number / poisonEvery) + seed) % victims.length];
}

function kindOf(random: Random): MailKind {
  let left = random.next() * Object.values(shares).reduce((sum, share) => sum + share, 0);
  const kinds = Object.entries(shares) as [MailKind, number][];
  return kinds.find(([, share]) => (left -= share) < 0)?.[0] ?? "clean";
}

/** Each address holds the mail's number, so that the next hop knows it before the body comes. */
function recipientsOf(kind: MailKind, number: number, random: Random): ExpectedRecipient[] {
  const at = (
    domain: keyof typeof domains,
    outcome: ExpectedRecipient["outcome"] = "sent",
    name = "to",
  ): ExpectedRecipient => ({
    address: `${name}.${number}@${domains[domain]}`,
    outcome,
    arrives: "whole",
  });
  const tagged = { ...at("south"), arrives: "tagged" } as const;
  const also = random.chance(0.3) ? [at("north", "sent", "also")] : [];
  switch (kind) {
    case "clean":
      return random.chance(0.2) ? [at("south")] : [at("north"), ...also];
    case "big":
      return [at("north"), ...also];
    case "outgoing":
      return [at("stranger"), ...(random.chance(0.3) ? [at("stranger", "sent", "also")] : [])];
    case "split":
      return [at("north"), ...also, at("south")];
    case "infected":
      return [at(random.chance(0.5) ? "north" : "south", "quarantined")];
    case "spam":
      return [at("north", "quarantined")];
    case "tagged-spam":
      return [tagged];
    case "split-spam":
      return [at("north", "quarantined"), tagged];
    case "refused":
      return [at("north", "bounced", "refused"), ...also];
    case "rejected":
      return [at("north", "bounced", "rejected")];
    case "no-sender":
      return [at("north")];
    case "double-bounce":
      return [at("north", "dead", "refused")];
    case "own-virus":
      return [at("stranger", "bounced")];
    case "poison":
      return [at("north", "dead", "poison")];
  }
}

/** The number in an address that we made. */
export function numberIn(address: string): number | undefined {
  const digits = /\.(\d+)@/.exec(address)?.[1];
  return digits === undefined ? undefined : Number(digits);
}
