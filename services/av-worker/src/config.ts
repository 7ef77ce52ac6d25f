import { z } from "zod";
import { integer, list } from "@rs-agent/shared/config.ts";
import { engineAddresses } from "@rs-agent/shared/engines/engine-address.ts";
import { workerConfigSchema } from "@rs-agent/shared/worker/config.ts";
import { blindKinds } from "./canaries.ts";
import { clamdPort } from "./clamd/address.ts";

const blind = list().pipe(z.array(z.enum(blindKinds)));

/** Settings of the av-worker: those of every worker, and clamd's. */
export const avWorkerConfigSchema = workerConfigSchema.extend({
  /** clamd addresses: `host:port`, `[v6]:port`, or the path of a unix socket; comma-separated. */
  AV_CLAMD: z.string().default("127.0.0.1:3310").pipe(engineAddresses(clamdPort)),
  /** Bytes; not more than clamd's StreamMaxLength (100 MB by default, 25 MB before 1.0). */
  AV_STREAM_MAX_BYTES: integer(1024, 4_000_000_000).default(100 * 1024 * 1024),
  /** One deadline over waiting, sending and scanning; longer than clamd's MaxScanTime (120 s). */
  AV_TIMEOUT_MS: integer(100, 3_600_000).default(150_000),
  /** Sessions to each clamd; sessions × depth is best set to clamd's MaxThreads. */
  AV_SESSIONS: integer(1, 64).default(2),
  /** Scans at once in one session. */
  AV_DEPTH: integer(1, 64).default(4),
  /** `encrypted`, `limit`: what clamd may answer OK to unseen. Each verdict then says `blind`. */
  AV_ALLOW_BLIND: z.string().default("").pipe(blind),
  /** Signatures older than this make a clamd unable. Unset: their age does not matter. */
  AV_MAX_SIGNATURE_AGE_HOURS: integer(1, 24 * 365).optional(),
});
export type AvWorkerConfig = z.output<typeof avWorkerConfigSchema>;
