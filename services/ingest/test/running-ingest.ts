import { systemClock } from "@rs-agent/shared/clock.ts";
import { loadConfig } from "@rs-agent/shared/config.ts";
import { newToken } from "@rs-agent/shared/ids.ts";
import type { Metrics } from "@rs-agent/shared/health/metrics.ts";
import { createSilentLogger, type Logger } from "@rs-agent/shared/logger.ts";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import { policyDocumentSchema } from "@rs-agent/shared/policy/document.ts";
import { openDatabase, type Database } from "@rs-agent/shared/store/database.ts";
import { ingestConfigSchema } from "../src/config.ts";
import { startIngest, type IngestHandle } from "../src/ingest.ts";
import { mongodbUri } from "../../../test/support/test-mongodb.ts";

export const hostname = "mx.ingest.test";
export const anna = "anna@northwind.example";
export const ben = "ben@northwind.example";
export const stranger = "jonas@partner.example";
/** A client address in the test tenant's networks; 127.0.0.1 is in none. */
export const tenantClient = "127.0.0.2";

/** What a test works with; closing it ends everything. */
export interface RunningIngest {
  ingest: IngestHandle;
  database: Database;
  smtp: string;
  lmtp: string;
  submission: string;
  /** The record and raw mail that a `250 2.0.0 queued as ID` names. */
  stored(reply: string): Promise<{ mail: MailRecord; raw: Buffer }>;
}

export interface RunningIngestOptions {
  /** Settings that override the test's own. */
  env?: Record<string, string>;
  uri?: string;
  log?: Logger;
  metrics?: Metrics;
}

const closers: (() => Promise<void>)[] = [];

/** Starts ingest on free ports with a database of its own and one tenant, `northwind.example`. */
export async function startTestIngest(options: RunningIngestOptions = {}): Promise<RunningIngest> {
  const uri = options.uri ?? mongodbUri();
  const log = options.log ?? createSilentLogger();
  const db = `ingest_${newToken().slice(0, 12)}`;
  const open = () => openDatabase({ uri, db, clock: systemClock, log });
  const database = await open();
  await database.policies.replace([northwind()]);
  const config = loadConfig(ingestConfigSchema, {
    MONGODB_URI: uri,
    MONGODB_DB: db,
    INGEST_SMTP: "127.0.0.1:0",
    INGEST_LMTP: "127.0.0.1:0",
    INGEST_SUBMISSION: "127.0.0.1:0",
    INGEST_HOSTNAME: hostname,
    INGEST_REVERSE_LOOKUP: "off",
    INGEST_GREET_DELAY_MS: "0",
    INGEST_POLICY_REFRESH_MS: "50",
    ...options.env,
  });
  const ingest = await startIngest({
    config,
    database,
    log,
    certificatePollMs: 50,
    ...(options.metrics && { metrics: options.metrics }),
  }).catch(async (error: unknown) => {
    await database.close();
    throw error;
  });
  closers.push(() => ingest.close());
  const first = (addresses: string[]) => addresses[0] ?? "";
  return {
    ingest,
    database,
    smtp: first(ingest.addresses.smtp),
    lmtp: first(ingest.addresses.lmtp),
    submission: first(ingest.addresses.submission),
    stored: async (reply) => {
      const id = /^250 2\.0\.0 queued as ([0-9a-z]{20})$/.exec(reply)?.[1];
      if (id === undefined) throw new Error(`not accepted: ${reply}`);
      const mail = await database.mails.get(id);
      if (mail === undefined) throw new Error(`no record of ${id}`);
      return { mail, raw: await database.bodies.get(mail.body) };
    },
  };
}

/** Call after each test: closes whatever `startTestIngest` started. */
export async function closeTestIngests(): Promise<void> {
  await Promise.all(closers.splice(0).map((close) => close()));
}

export function northwind(more: object = {}) {
  return policyDocumentSchema.parse({
    _id: "tenant:northwind",
    scope: "tenant",
    tenantId: "northwind",
    networks: [tenantClient],
    domains: ["northwind.example"],
    ...more,
  });
}

/** The raw mail without the Received field that ingest put before it. */
export function withoutReceived(raw: Buffer): string {
  const text = raw.toString("latin1");
  const field = /^Received: [^\r]*\r\n\tby [^\r]*\r\n(?:\tfor [^\r]*\r\n)?\t[^\r]* \+0000\r\n/.exec(
    text,
  )?.[0];
  if (field === undefined) throw new Error(`no Received field: ${text.slice(0, 200)}`);
  return text.slice(field.length);
}
