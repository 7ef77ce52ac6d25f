import { join, resolve } from "node:path";
import { z } from "zod";
import { databaseName, loadConfig } from "@rs-agent/shared/config.ts";
import { spamEngineSchema } from "@rs-agent/shared/checks/spam.ts";
import { nextHopSchema } from "@rs-agent/shared/policy/next-hop.ts";

const engine = /^(?:(?:unix:)?\/.+|(?:\[[0-9a-fA-F:.]+\]|[^\s:/]+):\d{1,5})$/;
/** One or more, separated by commas, as the workers take them. */
const engines = z
  .string()
  .refine(
    (text) => text.split(",").every((entry) => engine.test(entry.trim())),
    "must be host:port or the path of a unix socket",
  );

/** What `npm start` takes from the environment; each service also reads its own settings. */
export const startConfigSchema = z.object({
  /** A MongoDB of yours; unset: a private one. */
  MONGODB_URI: z.string().optional(),
  MONGODB_DB: databaseName(),
  /** Engines of yours; unset: private ones. */
  AV_CLAMD: engines.optional(),
  SPAM_SPAMD: engines.optional(),
  SPAM_RSPAMD: engines.optional(),
  /** Which spam engine the system has. */
  SPAM_ENGINE: spamEngineSchema.default("spamd"),
  /** A next hop of yours; unset: a private server that writes into a maildir. */
  RELAY_NEXT_HOP: nextHopSchema.optional(),
  /** Where SMTP listens. */
  RS_AGENT_SMTP: nextHopSchema.optional(),
  /** Data, logs and relayed mail. Default: `.run` in the project. */
  RS_AGENT_RUN_DIR: z.string().optional(),
  /** Whether ingest asks the DNS for clients' names: not for those of this host, unless told to. */
  INGEST_REVERSE_LOOKUP: z.string().default("off"),
  /** https://no-color.org */
  NO_COLOR: z.string().optional(),
  PATH: z.string().default("/usr/local/bin:/usr/bin:/bin"),
});
export type StartConfig = z.output<typeof startConfigSchema>;

/** @throws TerminalError CFG_INVALID */
export function loadStartConfig(env: NodeJS.ProcessEnv): StartConfig {
  return loadConfig(startConfigSchema, env);
}

/** npm prints the name of the script before it runs it, on standard output, unless it is silent. */
export function hasBannerOfNpm(env: NodeJS.ProcessEnv): boolean {
  return env.npm_lifecycle_event === "start" && env.npm_config_loglevel !== "silent";
}

/** An absolute path; a relative one is resolved from the project's root. */
export function runDirOf(config: StartConfig, root: string): string {
  return config.RS_AGENT_RUN_DIR === undefined
    ? usualRunDir(root)
    : resolve(root, config.RS_AGENT_RUN_DIR);
}

export function usualRunDir(root: string): string {
  return join(root, ".run");
}
