import { z } from "zod";
import { plaintextPhrase } from "../bus/protection.ts";
import { integer, list, logLevel } from "../config.ts";
import { healthHttp } from "../health/listen-address.ts";

/** A mailbox address that the environment gives: `tcp://host:port` or `ipc://path`. */
const endpointSchema = z
  .string()
  .regex(/^(tcp:\/\/\S+:(\d+|\*)|ipc:\/\/\S+)$/, "must be tcp://host:port or ipc://path");

/** Result sockets of the dispatchers; a name stands for all its addresses. */
export const dispatcherAddresses = () => list().pipe(z.array(endpointSchema).min(1));

/** Of everybody who has sessions with dispatchers. */
export const busSettings = {
  /** Where the mailbox is bound. */
  BUS_BIND: endpointSchema.default("tcp://127.0.0.1:*"),
  /** Mailbox address told to dispatchers. Default: the local one that routes to each. */
  BUS_ADVERTISE: endpointSchema.optional(),
  /** This service's secret key, and the list of keys that others may have; together or not at all. */
  BUS_KEY_FILE: z.string().optional(),
  BUS_ALLOW_FILE: z.string().optional(),
  BUS_ALLOW_PLAINTEXT: z.literal(plaintextPhrase).optional(),
};
export type BusSettings = z.output<z.ZodObject<typeof busSettings>>;

/** The settings that every worker has, by their names in the environment. Extend it for a type. */
export const workerConfigSchema = z.object({
  /** This worker's id on the bus and in verdicts. Default: kind, host and process id. */
  ACTOR_ID: z.string().min(1).max(128).optional(),
  ...busSettings,
  BUS_DISPATCHERS: dispatcherAddresses(),
  /** Bytes of mail that may wait in this worker. One mail of any size is always taken. */
  BUS_CREDIT_BYTES: integer(1, 2 ** 40).default(64 * 1024 * 1024),
  /** Largest mail that is taken from the bus. */
  MAX_MAIL_BYTES: integer(1, 1024 * 1024 * 1024).default(50 * 1024 * 1024),
  CANARY_INTERVAL_MS: integer(100, 86_400_000).default(30_000),
  /** A disk shared with the dispatcher; unset: mail comes over the bus only. */
  SPOOL_DIR: z.string().optional(),
  LOG_LEVEL: logLevel(),
  DRAIN_MS: integer(0, 3_600_000).default(30_000),
  /** Where health and metrics are served; unset: nowhere. */
  HEALTH_HTTP: healthHttp(),
});
export type WorkerConfig = z.output<typeof workerConfigSchema>;
