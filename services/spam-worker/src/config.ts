import { z } from "zod";
import { integer, list } from "@rs-agent/shared/config.ts";
import { messageOf } from "@rs-agent/shared/errors.ts";
import { workerConfigSchema } from "@rs-agent/shared/worker/config.ts";
import { parseSpamdAddress } from "./spamd/request.ts";

const addresses = list().pipe(
  z
    .array(
      z.string().superRefine((entry, context) => {
        try {
          parseSpamdAddress(entry);
        } catch (error) {
          context.addIssue({ code: "custom", message: messageOf(error) });
        }
      }),
    )
    .min(1, "at least one spamd address"),
);

/** Settings of the spam-worker: those of every worker, and spamd's (docs/spamd.md). */
export const spamWorkerConfigSchema = workerConfigSchema.extend({
  /** spamd addresses: `host:port`, `[v6]:port`, or the path of a unix socket; comma-separated. */
  SPAM_SPAMD: z.string().default("127.0.0.1:783").pipe(addresses),
  /** Requests at once to each spamd: as many as it has children (`--max-children`). */
  SPAM_CHILDREN: integer(1, 1_000).default(5),
  /** One deadline a mail; longer than SpamAssassin's time_limit, so that it can say that it ran out. */
  SPAM_TIMEOUT_MS: integer(100, 3_600_000).default(120_000),
  /** Of this, the time in which a connection must stand. */
  SPAM_CONNECT_TIMEOUT_MS: integer(10, 600_000).default(5_000),
  /** The longest reply that is read, in bytes: REPORT and HEADERS grow with the mail's header. */
  SPAM_MAX_REPLY_BYTES: integer(1_024, 100_000_000).default(1_000_000),
});
export type SpamWorkerConfig = z.output<typeof spamWorkerConfigSchema>;
