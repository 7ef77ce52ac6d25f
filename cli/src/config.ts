import { existsSync, readFileSync } from "node:fs";
import { hostname, userInfo } from "node:os";
import { join, resolve } from "node:path";
import { parseEnv } from "node:util";
import { z } from "zod";
import { databaseName, loadConfig } from "@rs-agent/shared/config.ts";
import { messageOf, TerminalError } from "@rs-agent/shared/errors.ts";
import { mongoDbFileSettings } from "@rs-agent/shared/mongodb-files.ts";
import { spamWorkerConfigSchema } from "@rs-agent/spam-worker/config.ts";

/** Settings of `rs-agent`, under the names that the services have them. */
export const cliConfigSchema = z.object({
  MONGODB_URI: z.string(),
  ...mongoDbFileSettings,
  MONGODB_DB: databaseName(),
  /** Who is named in the records for what is done. */
  RS_AGENT_USER: z.string().min(1).max(128).optional(),
  /** Our name in reports on undelivered mail, as the services have it. */
  MAIL_HOSTNAME: z.string().min(1).max(255).default(hostname()),
  /** For `policy test`: the default next hop, as the dispatcher has it. */
  RELAY_NEXT_HOP: z.string().optional(),
});
export type CliConfig = z.output<typeof cliConfigSchema> & { by: string };

/** Settings that need no database: for `submit` and `doctor`. */
export const peerConfigSchema = z.object({
  INGEST_SMTP: z.string().default("127.0.0.1:2525"),
  AV_CLAMD: z.string().optional(),
  SPAM_SPAMD: z.string().optional(),
  SPAM_RSPAMD: z.string().optional(),
  ...spamWorkerConfigSchema.pick({ SPAM_RSPAMD_REQUIRED: true, SPAM_RSPAMD_TASK_TIMEOUT_MS: true })
    .shape,
});
export type PeerConfig = z.output<typeof peerConfigSchema>;

/** @throws TerminalError CFG_INVALID naming each wrong setting */
export function loadCliConfig(env: NodeJS.ProcessEnv): CliConfig {
  if ((env.MONGODB_URI ?? "") === "" && (env.MONGODB_URI_FILE ?? "") === "") {
    const text = "MONGODB_URI is not set: give it as the services have it (or run `npm start`)";
    throw new TerminalError("CFG_INVALID", text);
  }
  const config = loadConfig(cliConfigSchema, env);
  return { ...config, by: config.RS_AGENT_USER ?? userName() };
}

/** A running system's settings, and where they were found. */
export interface FoundSettings {
  env: NodeJS.ProcessEnv;
  /** The file whose MONGODB_URI is used; undefined: our environment named one, or nobody did. */
  file?: string;
}

/**
 * The environment over what a running `npm start` left in the `rs-agent.env` of its run folder, so
 * that commands in the same checkout find the system without being told. RS_AGENT_ENV_FILE names
 * another file.
 * @throws TerminalError CFG_INVALID if the file cannot be read
 */
export function withRunningSystem(env: NodeJS.ProcessEnv, root: string): FoundSettings {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ""));
  const usual = join(resolve(root, given.RS_AGENT_RUN_DIR ?? ".run"), "rs-agent.env");
  const file = given.RS_AGENT_ENV_FILE ?? usual;
  if (given.RS_AGENT_ENV_FILE === undefined && !existsSync(file)) return { env: given };
  const left = readSettings(file);
  if (given.MONGODB_URI_FILE !== undefined) return { env: given };
  const { MONGODB_URI: uri = left.MONGODB_URI } = given;
  // With a database of its own it is another system, and so are its listener and engines.
  if (uri !== left.MONGODB_URI) return { env: given };
  return { env: { ...left, ...given }, ...(given.MONGODB_URI === undefined && { file }) };
}

function readSettings(file: string): NodeJS.ProcessEnv {
  try {
    return parseEnv(readFileSync(file, "utf8"));
  } catch (error) {
    throw new TerminalError("CFG_INVALID", messageOf(error), { cause: error });
  }
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return "unknown";
  }
}
