import { existsSync, readFileSync } from "node:fs";
import { userInfo } from "node:os";
import { join } from "node:path";
import { parseEnv } from "node:util";
import { z } from "zod";
import { loadConfig } from "@rs-agent/shared/config.ts";
import { TerminalError } from "@rs-agent/shared/errors.ts";

/** Settings of `rs-agent`, under the names that the services have them. */
export const cliConfigSchema = z.object({
  MONGODB_URI: z.string(),
  MONGODB_DB: z.string().min(1).default("rs_agent"),
  /** Who is named in the records for what is done. */
  RS_AGENT_USER: z.string().min(1).max(128).optional(),
  /** For `policy test`: the default next hop, as the dispatcher has it. */
  RELAY_NEXT_HOP: z.string().optional(),
});
export type CliConfig = z.output<typeof cliConfigSchema> & { by: string };

/** Settings that need no database: for `submit` and `doctor`. */
export const peerConfigSchema = z.object({
  INGEST_SMTP: z.string().default("127.0.0.1:2525"),
  AV_CLAMD: z.string().optional(),
  SPAM_SPAMD: z.string().optional(),
});

/** @throws TerminalError CFG_INVALID naming each wrong setting */
export function loadCliConfig(env: NodeJS.ProcessEnv): CliConfig {
  if ((env.MONGODB_URI ?? "") === "") {
    const text = "MONGODB_URI is not set: give it as the services have it (or run `npm start`)";
    throw new TerminalError("CFG_INVALID", text);
  }
  const config = loadConfig(cliConfigSchema, env);
  return { ...config, by: config.RS_AGENT_USER ?? userName() };
}

/**
 * The environment over what a running `npm start` left in its `.run/rs-agent.env`, so that commands
 * in the same checkout find the system without being told.
 */
export function withRunningSystem(env: NodeJS.ProcessEnv, root: string): NodeJS.ProcessEnv {
  const file = env.RS_AGENT_ENV_FILE ?? join(root, ".run", "rs-agent.env");
  if (!existsSync(file)) return env;
  return { ...parseEnv(readFileSync(file, "utf8")), ...env };
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return "unknown";
  }
}
