import { databaseName, flag, integer, logLevel } from "@rs-agent/shared/config.ts";
import { healthHttp } from "@rs-agent/shared/health/listen-address.ts";
import { hostname } from "node:os";
import { mongoDbFileSettings } from "@rs-agent/shared/mongodb-files.ts";
import { z } from "zod";

/** The dispatcher's settings, by their environment names (docs/settings.md). */
export const dispatcherConfigSchema = z
  .object({
    MONGODB_URI: z.string(),
    ...mongoDbFileSettings,
    MONGODB_DB: databaseName(),
    LOG_LEVEL: logLevel(),
    LOG_ADDRESSES: z.enum(["plain", "hash", "off"]).default("plain"),
    DRAIN_MS: integer(0, 3_600_000).default(30_000),
    /** Where health and metrics are served; unset: nowhere. */
    HEALTH_HTTP: healthHttp(),
    ACTOR_ID: z.string().min(1).max(128).optional(),
    /** Where the result socket binds. */
    BUS_BIND: z.string().default("tcp://127.0.0.1:*"),
    /** Our secret key, and the list of keys that others may have; together or not at all. */
    BUS_KEY_FILE: z.string().optional(),
    BUS_ALLOW_FILE: z.string().optional(),
    BUS_ALLOW_PLAINTEXT: z.string().optional(),
    LEASE_MS: integer(5_000, 3_600_000).default(60_000),
    /** The timer that catches what the change stream did not report. */
    POLL_MS: integer(10, 60_000).default(1_000),
    CHANGE_STREAM: flag().default(true),
    CLAIM_BATCH: integer(1, 1_000).default(100),
    /** Mails and raw bytes that this dispatcher holds at once (I7). */
    MAX_HELD_MAILS: integer(1, 100_000).default(400),
    MAX_HELD_BYTES: integer(1_000_000, 16_000_000_000).default(128_000_000),
    /** The largest mail that ingest takes: the bus carries no larger one. */
    MAX_MAIL_BYTES: integer(1_024, 1_073_741_824).default(50 * 1024 * 1024),
    /** A mail that finds no worker within this time is given back. */
    PLACE_MS: integer(10, 60_000).default(2_000),
    /** A task's deadline: this, and `TASK_DEADLINE_PER_MB_MS` for each million bytes. */
    TASK_DEADLINE_MS: integer(1_000, 3_600_000).default(180_000),
    TASK_DEADLINE_PER_MB_MS: integer(0, 600_000).default(5_000),
    /** Verdicts wait this long, and up to twice that, for others before they are written. */
    VERDICT_WRITE_MS: integer(0, 10_000).default(300),
    /** A folder shared with workers of this host: disk mode. */
    SPOOL_DIR: z.string().optional(),
    /** JSON list of sources (docs/records.md). */
    SOURCES: z.string().optional(),
    /** Policies are read again after at most this time. */
    POLICY_REFRESH_MS: integer(100, 3_600_000).default(2_000),
    /** How often mail out of date, and bodies of no mail, are looked for. */
    RETENTION_MS: integer(1_000, 86_400_000).default(60_000),
    /** How often waiting mail is counted; less often if that takes long. */
    WAITING_REFRESH_MS: integer(100, 3_600_000).default(5_000),
    /** As many workers are wanted as work off the waiting mail in this time. */
    SCALE_CLEAR_MS: integer(1_000, 86_400_000).default(60_000),
    /** Where mail goes whose policy names no route: `host:port`. */
    RELAY_NEXT_HOP: z.string().optional(),
    /** The name in Received fields and DSNs. */
    MAIL_HOSTNAME: z.string().default(hostname()),
  })
  .transform((env) => ({
    ...env,
    ACTOR_ID: env.ACTOR_ID ?? `dispatcher-${hostname()}-${String(process.pid)}`,
  }));

export type DispatcherConfig = z.output<typeof dispatcherConfigSchema>;
