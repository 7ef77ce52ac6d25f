import { ownCheckSchema } from "@rs-agent/shared/checks/own-check.ts";
import { sha256Hex } from "@rs-agent/shared/ids.ts";
import { recordVersion, type BodyRef, type MailRecord } from "@rs-agent/shared/mail/record.ts";
import type { CheckKind, Finding, TaskKind } from "@rs-agent/shared/checks/verdict.ts";
import type { Random } from "./random.ts";
import { senderDomains, strangerClient } from "./senders.ts";

/**
 * The truth about a mail, whatever anybody finds: everything that the system does is measured by
 * it.
 */
export interface Truth {
  id: string;
  raw: Buffer;
  sha256: string;
  mailFrom: string;
  recipients: string[];
  /** It comes from the tenant's own network, so it is signed. */
  outgoing: boolean;
  virus: "clean" | "infected" | "encrypted";
  /** The operator's own check looks for this. */
  isSecret: boolean;
  /** SpamAssassin points. */
  score: number;
  /**
   * Kills or blocks every worker that works on it in this step; or kills every dispatcher or relay
   * that reads its bytes, or that would write what came of it.
   */
  poison: Poison | undefined;
  /** Milliseconds after which it comes in. */
  atMs: number;
  /** A person lets it pass when it is kept back for a finding. */
  isReleased: boolean;
}

export type Poison =
  /** `kills-unbegun`: as soon as it comes in. */
  | { kind: TaskKind; how: "kills" | "hangs" | "kills-unbegun" }
  /** The worker lives, but its engine dies and is away for a while. */
  | { kind: CheckKind; how: "kills-engine" }
  | { kind: "dispatcher" | "relay"; how: "read" | "written" };

/** A check that some policies bring. */
export const ownCheck = ownCheckSchema.parse("dlp");

export const tenantDomain = "acme.example";
export const signature = { domain: tenantDomain, selector: "s1" };
export const tenantClient = "10.0.0.5";

/** Recipients whose address says what the next hop answers. */
const incomingNames = ["ann", "bob", "cleo", "vip", "refused", "later"] as const;

export function createMails(
  random: Random,
  count: number,
  withinMs: number,
  prefix = "m",
): Truth[] {
  return Array.from({ length: count }, (_, index) =>
    createMail(random, `${prefix}${String(index).padStart(2, "0")}`, random.between(0, withinMs)),
  );
}

function createMail(random: Random, id: string, atMs: number): Truth {
  const outgoing = random.chance(0.4);
  const domain = outgoing ? "elsewhere.example" : tenantDomain;
  const names = [...incomingNames].filter(() => random.chance(0.3));
  const recipients = (names.length === 0 ? ["ann"] : names).map((name) => `${name}@${domain}`);
  const stranger = /[02468]$/.test(id) ? senderDomains.honest : senderDomains.forged;
  const sender = outgoing ? `user@${tenantDomain}` : `someone@${stranger}`;
  const raw = Buffer.from(
    `Message-ID: <${id}@mail.example>\r\nFrom: ${sender}\r\nSubject: mail ${id}\r\n\r\n` +
      `Body of ${id}.\r\n.dot\r\n${"x".repeat(random.int(0, 40))}\r\n`,
  );
  const virus = random.pick(["clean", "clean", "clean", "clean", "infected", "encrypted"] as const);
  const isPoison = random.chance(0.1);
  return {
    id,
    raw,
    sha256: sha256Hex(raw),
    mailFrom: random.chance(0.1) ? "" : sender,
    recipients,
    outgoing,
    virus,
    isSecret: random.fork("secret").chance(0.15),
    score: random.pick([0, 0, 1, 4, 7, 20]),
    poison: isPoison ? createPoison(random) : undefined,
    atMs,
    isReleased: random.chance(0.4),
  };
}

function createPoison(random: Random): Poison {
  if (random.chance(0.33)) {
    const kind = random.pick(["dispatcher", "relay"] as const);
    return { kind, how: random.pick(["read", "written"] as const) };
  }
  const ofWorkers = ["kills", "hangs", "kills-unbegun"] as const;
  if (random.chance(0.25)) return { kind: "enrich", how: random.pick(ofWorkers) };
  const kind = random.pick(["virus", "spam", ownCheck] as const);
  return { kind, how: random.pick([...ofWorkers, "kills-engine"] as const) };
}

/** The record as ingest makes it. */
export function recordOf(truth: Truth, body: BodyRef, now: Date): MailRecord {
  const { outgoing, mailFrom, recipients } = truth;
  const client = { address: outgoing ? tenantClient : strangerClient, name: "", helo: "client" };
  return {
    _id: truth.id,
    v: recordVersion,
    state: "incoming",
    next: "plan",
    dueAt: now,
    origin: { via: "smtp", name: "simulation" },
    smtp: { mailFrom, rcptTo: recipients, client },
    recipients: recipients.map((address) => ({ address, outcome: "open", attempts: 0 })),
    receivedAt: now,
    body,
    header: {
      messageId: `<${truth.id}@mail.example>`,
      from: mailFrom,
      fromDomain: outgoing ? tenantDomain : senderDomains.honest,
    },
    verdicts: {},
    history: [{ at: now, event: "accepted" }],
  };
}

/** The finding of an honest engine. */
export function honestFinding(truth: Truth, check: CheckKind): Finding {
  if (check === ownCheck) {
    return truth.isSecret ? { kind: "found", labels: ["secret"] } : { kind: "passed" };
  }
  if (check === "spam") {
    const { score } = truth;
    return { kind: score >= 5 ? "spam" : "ham", score, required: 5, rules: [] };
  }
  if (truth.virus === "clean") return { kind: "clean" };
  if (truth.virus === "infected") return { kind: "infected", names: ["Sim.Test"] };
  return { kind: "unchecked", reason: "encrypted" };
}
