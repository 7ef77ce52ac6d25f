import { z } from "zod";
import { avWorkerConfigSchema } from "@rs-agent/av-worker/config.ts";
import { spamWorkerConfigSchema } from "@rs-agent/spam-worker/config.ts";

/** Settings that need no database: for `submit` and `doctor`. */
export const peerConfigSchema = z.object({
  INGEST_SMTP: z.string().default("127.0.0.1:2525"),
  AV_CLAMD: z.string().optional(),
  ...avWorkerConfigSchema.pick({ AV_ALLOW_BLIND: true }).shape,
  SPAM_SPAMD: z.string().optional(),
  SPAM_RSPAMD: z.string().optional(),
  /** For `doctor`: a folder whose disk is checked. */
  SPOOL_DIR: z.string().optional(),
  ...spamWorkerConfigSchema.pick({ SPAM_RSPAMD_REQUIRED: true, SPAM_RSPAMD_TASK_TIMEOUT_MS: true })
    .shape,
});
export type PeerConfig = z.output<typeof peerConfigSchema>;
