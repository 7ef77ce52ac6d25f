import { z } from "zod";
import { integer } from "@rs-agent/shared/config.ts";
import { spamEngineSchema } from "@rs-agent/shared/checks/spam.ts";
import { engineAddresses } from "@rs-agent/shared/engines/engine-address.ts";
import { workerConfigSchema } from "@rs-agent/shared/worker/config.ts";

/**
 * Settings of the spam-worker: those of every worker, and those of its engine (docs/spamd.md,
 * docs/rspamd.md).
 */
export const spamWorkerConfigSchema = workerConfigSchema.extend({
  /** Which engine this worker asks. */
  SPAM_ENGINE: spamEngineSchema.default("spamd"),
  /** spamd addresses: `host:port`, `[v6]:port`, or the path of a unix socket; comma-separated. */
  SPAM_SPAMD: z.string().default("127.0.0.1:783").pipe(engineAddresses()),
  /** Requests at once to each spamd: as many as it has children (`--max-children`). */
  SPAM_CHILDREN: integer(1, 1_000).default(5),
  /** Addresses of rspamd, normal workers or proxies, in the same forms. */
  SPAM_RSPAMD: z.string().default("127.0.0.1:11333").pipe(engineAddresses()),
  /** Requests at once to each rspamd, whose processes each work on many mails. */
  SPAM_RSPAMD_REQUESTS: integer(1, 10_000).default(32),
  /** Points from which a mail is spam to rspamd (`add_header`), if its answer does not say. */
  SPAM_RSPAMD_REQUIRED: z.coerce.number().positive().max(1_000_000).default(6),
  /**
   * rspamd's own task_timeout: an answer that took this long is based on part of its rules only.
   */
  SPAM_RSPAMD_TASK_TIMEOUT_MS: integer(100, 3_600_000).default(8_000),
  /**
   * One deadline per mail; longer than the engine's own, so that the engine can say that it ran out
   * of time.
   */
  SPAM_TIMEOUT_MS: integer(100, 3_600_000).default(120_000),
  /** Part of that deadline: how long a connection may take. */
  SPAM_CONNECT_TIMEOUT_MS: integer(10, 600_000).default(5_000),
  /** The longest reply that is read, in bytes; spamd's replies grow with the mail's header. */
  SPAM_MAX_REPLY_BYTES: integer(1_024, 100_000_000).default(1_000_000),
});
export type SpamWorkerConfig = z.output<typeof spamWorkerConfigSchema>;
