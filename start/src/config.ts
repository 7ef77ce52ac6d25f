import { join } from "node:path";
import { z } from "zod";
import { loadConfig } from "@rs-agent/shared/config.ts";

const hostAndPort = z.string().regex(/^(\[[0-9a-fA-F:.]+\]|[^\s:]+):\d{1,5}$/, "must be host:port");

/** What `npm start` takes from the environment; each service reads its own settings beside it. */
export const startConfigSchema = z.object({
  /** A MongoDB of yours; unset: a private one. */
  MONGODB_URI: z.string().optional(),
  MONGODB_DB: z.string().default("rs_agent"),
  /** Engines of yours; unset: private ones. */
  AV_CLAMD: z.string().optional(),
  SPAM_SPAMD: z.string().optional(),
  /** A next hop of yours; unset: a private server that writes into a maildir. */
  RELAY_NEXT_HOP: z.string().optional(),
  /** Where SMTP listens. */
  RS_AGENT_SMTP: hostAndPort.optional(),
  /** Data, logs and relayed mail. Default: `.run` in the project. */
  RS_AGENT_RUN_DIR: z.string().optional(),
  PATH: z.string().default("/usr/local/bin:/usr/bin:/bin"),
});
export type StartConfig = z.output<typeof startConfigSchema>;

/** @throws TerminalError CFG_INVALID */
export function loadStartConfig(env: NodeJS.ProcessEnv): StartConfig {
  return loadConfig(startConfigSchema, env);
}

export function runDirOf(config: StartConfig, root: string): string {
  return config.RS_AGENT_RUN_DIR ?? join(root, ".run");
}
