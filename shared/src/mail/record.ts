import { z } from "zod";
import { TerminalError } from "../errors.ts";
import { historyEntrySchema, maxHistory } from "../life/events.ts";
import { outcomeSchema } from "../life/outcomes.ts";
import { mailStateSchema } from "../life/states.ts";
import { smtpEnvelopeSchema } from "./smtp-envelope.ts";
import { taskKindSchema, checkKindSchema, verdictsSchema } from "../checks/verdict.ts";
import { uncheckedReasonSchema } from "../checks/finding.ts";
import { dispositionSchema } from "../checks/consequence.ts";
import { planRefSchema, planSchema } from "./plan.ts";
import { routeSchema } from "./route.ts";

/** The newest form of records that this release knows (store/record-form.ts); a reader refuses a newer one. */
export const recordVersion = 2;

export const bodyRefSchema = z.looseObject({
  id: z.string().max(64),
  /** `document`: one document in `bodies`; `gridfs`: a file in the bucket `bodies`. */
  form: z.enum(["document", "gridfs"]),
  size: z.number().int().nonnegative(),
  sha256: z.string().length(64),
});
export type BodyRef = z.infer<typeof bodyRefSchema>;

export const recipientSchema = z.looseObject({
  address: z.string().max(320),
  outcome: outcomeSchema,
  /** When the outcome became final. */
  at: z.date().optional(),
  /** RFC 3463 status code of the outcome or of the last attempt. */
  status: z.string().max(16).optional(),
  /** The next hop's last reply, whole (RFC 5321, bounded). */
  reply: z.string().max(4096).optional(),
  attempts: z.number().int().nonnegative().default(0),
  /**
   * Only with `bounced`: nobody was told, because the sender may be forged (I12). Absent: the
   * sender was told.
   */
  report: z.literal("none").optional(),
  /** The person who found out the outcome. */
  foundBy: z.string().max(128).optional(),
});
export type Recipient = z.infer<typeof recipientSchema>;

export const leaseSchema = z.looseObject({
  owner: z.string().max(128),
  token: z.string().length(32),
  until: z.date(),
});
export type Lease = z.infer<typeof leaseSchema>;

/**
 * What the enricher made. `headerBlock` replaces the first `restOffset` bytes of the raw mail; if
 * `body` is present, that stored body is the whole changed mail and stands for everything.
 */
export const enrichedSchema = z.looseObject({
  headerBlock: z.custom<Uint8Array>((value) => value instanceof Uint8Array).optional(),
  restOffset: z.number().int().nonnegative(),
  body: bodyRefSchema.optional(),
  /** SHA-256 (hex) and size of the bytes that the relay will send. */
  sha256: z.string().length(64),
  size: z.number().int().nonnegative(),
  signature: z.looseObject({ domain: z.string(), selector: z.string() }).optional(),
  /** The new SMTP sender, if the policy rewrote it. */
  mailFrom: z.string().max(320).optional(),
  settingsHash: z.string().max(64),
  /** What was skipped and why, for `explain`. */
  notes: z.array(z.string().max(500)).max(20),
  /** Hash over the verdicts that went into the headers: other verdicts need another enrichment. */
  verdictsHash: z.string().max(64),
  worker: z.string().max(128),
  queueMs: z.number(),
  workMs: z.number(),
  at: z.date(),
});
export type Enriched = z.infer<typeof enrichedSchema>;

/** A person's decision that lets a mail pass despite a finding (I2). */
export const overrideSchema = z.looseObject({
  check: checkKindSchema,
  /** The finding that is overridden, e.g. `infected: Eicar-Signature` or `unchecked: encrypted`. */
  finding: z.string().max(1000),
  by: z.string().max(128),
  at: z.date(),
});
export type Override = z.infer<typeof overrideSchema>;

/** The mark that the relay sets before the transaction whose outcome may stay unknown (I8). */
export const unknownMarkSchema = z.looseObject({
  attempt: z.number().int().positive(),
  connection: z.string().max(200),
  recipients: z.array(z.string().max(320)),
  at: z.date(),
  relay: z.string().max(128),
  /** Nobody sends again before this: the longest SMTP time-out after the lease was found to be over. */
  resolveAt: z.date().optional(),
  /** The person who decided that it is sent again, whatever the policy says about this outcome. */
  resendBy: z.string().max(128).optional(),
});
export type UnknownMark = z.infer<typeof unknownMarkSchema>;

export const mailSchema = z.looseObject({
  _id: z.string().min(1).max(64),
  v: z.union([z.literal(1), z.literal(recordVersion)]),
  state: mailStateSchema,
  /**
   * `adopt` (a stub, stub.ts), `plan` (incoming), a task kind (processing), a route key (ready,
   * relaying).
   */
  next: z.string().max(128).optional(),
  /** Nothing is done before this instant; for a leased mail, the end of the lease. */
  dueAt: z.date().optional(),
  lease: leaseSchema.optional(),
  /** How the mail came in. */
  origin: z.looseObject({
    via: z.enum(["smtp", "lmtp", "source", "dsn", "split"]),
    /**
     * The name of the listener or source; or the id of the mail that a DSN is about, or from which a
     * part was split.
     */
    name: z.string().max(128),
    /** From this client the source brings incoming mail only, whatever network the client claims. */
    incoming: z.boolean().optional(),
    /** The listener or the source is marked as one for outgoing mail. */
    outgoing: z.boolean().optional(),
    /** With `outgoing`: for outgoing mail of this tenant only. */
    tenantId: z.string().max(128).optional(),
    /** A `scan-only` source: the mail is checked and never relayed. */
    scanOnly: z.boolean().optional(),
    /** Only from a source: the BSON of `{ _id }` of its record there. */
    record: z.custom<Uint8Array>((value) => value instanceof Uint8Array).optional(),
  }),
  smtp: smtpEnvelopeSchema,
  recipients: z.array(recipientSchema).max(10_000),
  receivedAt: z.date(),
  /** If a person started it again: the time from which its time in the queue counts. */
  queuedAt: z.date().optional(),
  body: bodyRefSchema,
  /** From the header, for `find` and `explain`: bounded, and decoded only for display. */
  header: z
    .looseObject({
      messageId: z.string().max(998).optional(),
      from: z.string().max(998).optional(),
      /**
       * The one domain of the one From field, in ASCII and lower case: decides on our signature.
       */
      fromDomain: z.string().max(255).optional(),
      /** The addresses of that field, for a policy that rewrites them. */
      fromAddresses: z.array(z.string().max(320)).max(10).optional(),
      subject: z.string().max(256).optional(),
    })
    .optional(),
  /** Whose mail it is by its plan. */
  tenantId: z.string().max(128).optional(),
  direction: z.enum(["incoming", "outgoing"]).optional(),
  /** Absent although there is a `planRef`: it cannot be read, and nothing stands in for it. */
  plan: planSchema.optional(),
  /** Which one it is, since version 2: before, the plan itself was in the record. */
  planRef: planRefSchema.optional(),
  route: routeSchema.optional(),
  verdicts: verdictsSchema.default({}),
  /** When the current reason for waiting in a check was first seen: `wait` counts from here. */
  uncheckedSince: z
    .looseObject({ check: checkKindSchema, reason: uncheckedReasonSchema, at: z.date() })
    .optional(),
  /** What policy made of the verdicts. An earlier version wrote the final state here. */
  disposition: dispositionSchema.optional().catch(undefined),
  enriched: enrichedSchema.optional(),
  overrides: z.array(overrideSchema).max(10).optional(),
  unknown: unknownMarkSchema.optional(),
  /** How often a service or an engine died while working on the mail (poison lane). */
  strikes: z.number().int().nonnegative().optional(),
  /** How many workers in a row died holding it before any had begun work on it (poison lane). */
  unbegun: z.number().int().nonnegative().optional(),
  claims: z.number().int().nonnegative().optional(),
  /**
   * Claims in a row that ended without a word from the holder, who died or lost the lease (poison
   * lane).
   */
  unended: z.number().int().optional(),
  /** Claims made alone whose holder has not said that it survived them: `token owner`. */
  alone: z.array(z.string().max(200)).optional(),
  parentId: z.string().max(64).optional(),
  /** Only in a split parent, frozen before the children are made: the recipients of each child. */
  groups: z.array(z.array(z.string().max(320))).optional(),
  /** Why it is held, dead or quarantined, in one sentence for a person. */
  reason: z.string().max(1000).optional(),
  heldUntil: z.date().optional(),
  finalAt: z.date().optional(),
  expireAt: z.date().optional(),
  history: z.array(historyEntrySchema).max(maxHistory).default([]),
  /**
   * How many writes it has had, counted by the store; claims and renewals do not count. Absent: 0.
   */
  rev: z.number().int().nonnegative().optional(),
  /** By whose claim the last write was made: the beginning of its token. */
  wrote: z.string().max(64).optional(),
  /** How many milliseconds each finished task waited and worked. */
  timings: z
    .partialRecord(
      taskKindSchema.or(z.literal("relay")),
      z.looseObject({ queueMs: z.number(), workMs: z.number() }),
    )
    .optional(),
});
/** One mail and where it stands: the document of `mails` (see docs/records.md). */
export type MailRecord = z.infer<typeof mailSchema>;

/** It has one that cannot be read; nothing else may stand in for it. */
export function isPlanLost({ plan, planRef }: MailRecord): boolean {
  return plan === undefined && planRef !== undefined;
}

export type RecordVersion = MailRecord["v"];

/** Whether a later release wrote it: such a record is not malformed, and not ours to judge. */
export function isNewer({ v }: { _id?: unknown; v?: unknown }): boolean {
  return typeof v === "number" && v > recordVersion;
}

export function newerText({ v }: { _id?: unknown; v?: unknown }): string {
  return `it has record version ${String(v)}; this release reads up to ${String(recordVersion)}`;
}

/**
 * Reads a document of `mails` (loaded with `promoteBuffers`).
 * @throws TerminalError STORE_RECORD_INVALID naming each wrong field; STORE_RECORD_NEWER
 */
export function parseMail(document: { _id: unknown; v?: unknown }): MailRecord {
  const parsed = mailSchema.safeParse(document);
  if (parsed.success) return parsed.data;
  const id = String(document._id);
  if (isNewer(document)) {
    const text = `mail ${id} is for a newer release: ${newerText(document)}`;
    throw new TerminalError("STORE_RECORD_NEWER", text);
  }
  throw new TerminalError(
    "STORE_RECORD_INVALID",
    `mail ${id} is not a record that we know:\n${z.prettifyError(parsed.error)}`,
  );
}
