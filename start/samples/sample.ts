import { entityBytes, type Entity, type Field } from "@rs-agent/kit/mails/mime.ts";
import type { Outcome } from "@rs-agent/shared/life/outcomes.ts";

/** A mail with which to try the whole path, and what must become of it under the sample policy. */
export interface Sample {
  /** Unique; for tables and file names. */
  name: string;
  /** What it shows, in a sentence. */
  note: string;
  /**
   * `incoming`: sent from `sampleClients.incoming`, a stranger. `outgoing`: from
   * `sampleClients.outgoing`, which is in the sample tenant's networks.
   */
  direction: "incoming" | "outgoing";
  /** `""` is the null sender. */
  mailFrom: string;
  rcptTo: string[];
  /** BODY= of MAIL FROM (RFC 6152). */
  body: "7BIT" | "8BITMIME";
  raw: Buffer;
  /** What the sample policy makes of it, for each recipient. */
  expected: { address: string; outcome: Outcome }[];
}

/** The local addresses to send from: on Linux all of 127.0.0.0/8 is this host. */
export const sampleClients = { incoming: "127.0.0.1", outgoing: "127.0.0.2" } as const;

/** The people of the samples. */
export const people = {
  /** Users of the sample tenant, under its own rules. */
  anna: "anna.berg@northwind.example",
  ben: "ben.otto@northwind.example",
  /** A user of the sample tenant's second domain, where spam is tagged and delivered. */
  desk: "desk@shop.northwind.example",
  /** Strangers. */
  jonas: "jonas.keller@partner.example",
  winner: "prize.office@lottery.example",
} as const;

/** What most samples have in common; each states the rest. */
export interface SampleText {
  name: string;
  note: string;
  from?: string;
  to?: string;
  subject: string;
  /** Fields that go before those that every mail has. */
  top?: readonly Field[];
  content: Entity;
  envelope?: { mailFrom?: string; rcptTo?: string[] };
  direction?: Sample["direction"];
  /** One outcome for all recipients, or one for each. */
  outcome?: Outcome | Record<string, Outcome>;
}

/** Makes a sample from its text: today's header, SMTP envelope, expected outcomes. */
export function sample(text: SampleText, now: Date): Sample {
  const from = text.from ?? `Jonas Keller <${people.jonas}>`;
  const to = text.to ?? `Anna Berg <${people.anna}>`;
  const id = `${text.name}.${now.getTime().toString(36)}`;
  const fields: Field[] = [
    ...(text.top ?? []),
    ["From", from],
    ["To", to],
    ["Subject", text.subject],
    ["Date", now.toUTCString().replace("GMT", "+0000")],
    ["Message-ID", `<${id}@${domainOfField(from)}>`],
    ["MIME-Version", "1.0"],
    ...text.content.fields,
  ];
  const raw = entityBytes({ fields, body: text.content.body });
  const rcptTo = text.envelope?.rcptTo ?? [people.anna];
  const { outcome = "sent" } = text;
  return {
    name: text.name,
    note: text.note,
    direction: text.direction ?? "incoming",
    mailFrom: text.envelope?.mailFrom ?? people.jonas,
    rcptTo,
    body: raw.some((byte) => byte > 0x7f) ? "8BITMIME" : "7BIT",
    raw,
    expected: rcptTo.map((address) => ({
      address,
      outcome: typeof outcome === "string" ? outcome : (outcome[address] ?? "sent"),
    })),
  };
}

function domainOfField(from: string): string {
  return /@([^@>]+)>?$/.exec(from)?.[1] ?? "partner.example";
}
