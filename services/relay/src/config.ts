import { databaseName, integer, logLevel } from "@rs-agent/shared/config.ts";
import { healthHttp } from "@rs-agent/shared/health/listen-address.ts";
import { dnsSettings } from "@rs-agent/shared/mail/authentication/dns.ts";
import { addressLogModes } from "@rs-agent/shared/mail/logged-address.ts";
import { busSettings, dispatcherAddresses } from "@rs-agent/shared/worker/config.ts";
import { hostname } from "node:os";
import { mongoDbFileSettings } from "@rs-agent/shared/mongodb-files.ts";
import { z } from "zod";

const timeoutMs = (standardMs: number) => integer(10, 3_600_000).default(standardMs);
const second = 1_000;
const minute = 60 * second;

/** The relay's settings, by their environment names (docs/relay.md). */
export const relayConfigSchema = z
  .object({
    MONGODB_URI: z.string(),
    ...mongoDbFileSettings,
    MONGODB_DB: databaseName(),
    LOG_LEVEL: logLevel(),
    LOG_ADDRESSES: z.enum(addressLogModes).default("plain"),
    DRAIN_MS: integer(0, 3_600_000).default(30_000),
    /** Where health and metrics are served; unset: nowhere. */
    HEALTH_HTTP: healthHttp(),
    ACTOR_ID: z.string().min(1).max(128).optional(),
    ...busSettings,
    /** Those who tell us what waits; unset: our timer alone finds it. */
    BUS_DISPATCHERS: dispatcherAddresses().optional(),
    /** The name for EHLO (if the route has none of its own) and in reports on undelivered mail. */
    RELAY_HOSTNAME: z.string().min(1).max(255).optional(),
    /** The default of RELAY_HOSTNAME: the name that ingest and dispatcher use too. */
    MAIL_HOSTNAME: z.string().min(1).max(255).default(hostname()),
    /** Connections, and so transactions at once, for each route. */
    RELAY_CONCURRENCY: integer(1, 1_000).default(20),
    /** Mails taken by one claim. */
    RELAY_BATCH: integer(1, 1_000).default(60),
    /** Bytes of mail in memory at once, over all routes; one mail of any size always fits (I7). */
    RELAY_HELD_BYTES: integer(1_000_000, 16_000_000_000).default(256_000_000),
    RELAY_LEASE_MS: integer(500, 3_600_000).default(60_000),
    /** The timer that finds what no dispatcher has told of. */
    RELAY_POLL_MS: integer(10, 60_000).default(1_000),
    /** The longest time until a failed route is probed again; it begins with a 32nd of this. */
    RELAY_PROBE_MS: integer(10, 3_600_000).default(30_000),
    /** An idle connection is ended after this time. */
    RELAY_IDLE_MS: integer(10, 3_600_000).default(10_000),
    /** A folder with one folder for each credential, with the files `username` and `password`. */
    RELAY_SECRETS_DIR: z.string().optional(),
    /** Certificates (PEM) that are trusted for TLS beside the system's. */
    RELAY_TLS_CA_FILE: z.string().optional(),
    ...dnsSettings,
    RELAY_TIMEOUT_CONNECT_MS: timeoutMs(30 * second),
    /** These six are of RFC 5321 §4.5.3.2, which gives them as the least that a client should wait. */
    RELAY_TIMEOUT_GREETING_MS: timeoutMs(5 * minute),
    RELAY_TIMEOUT_MAIL_MS: timeoutMs(5 * minute),
    RELAY_TIMEOUT_RCPT_MS: timeoutMs(5 * minute),
    RELAY_TIMEOUT_DATA_MS: timeoutMs(2 * minute),
    RELAY_TIMEOUT_BLOCK_MS: timeoutMs(3 * minute),
    RELAY_TIMEOUT_FINAL_MS: timeoutMs(10 * minute),
  })
  .transform((env) => ({
    ...env,
    RELAY_HOSTNAME: env.RELAY_HOSTNAME ?? env.MAIL_HOSTNAME,
    ACTOR_ID: env.ACTOR_ID ?? `relay-${hostname()}-${String(process.pid)}`,
    timeouts: {
      connectMs: env.RELAY_TIMEOUT_CONNECT_MS,
      greetingMs: env.RELAY_TIMEOUT_GREETING_MS,
      mailMs: env.RELAY_TIMEOUT_MAIL_MS,
      rcptMs: env.RELAY_TIMEOUT_RCPT_MS,
      dataMs: env.RELAY_TIMEOUT_DATA_MS,
      blockMs: env.RELAY_TIMEOUT_BLOCK_MS,
      finalMs: env.RELAY_TIMEOUT_FINAL_MS,
    },
  }));

export type RelayConfig = z.output<typeof relayConfigSchema>;

/** Milliseconds that the relay waits in each step of a session (RFC 5321 §4.5.3.2). */
export type Timeouts = RelayConfig["timeouts"];

/** The longest time that a hop may take to act on what we sent before we give up on it (I8). */
export function longestTimeoutMs(timeouts: Timeouts): number {
  return Math.max(...Object.values(timeouts));
}
