import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseEnv } from "node:util";
import { messageOf, TerminalError } from "@rs-agent/shared/errors.ts";

/** A running system's settings, and where they were found. */
export interface FoundSettings {
  env: NodeJS.ProcessEnv;
  /** The file whose MONGODB_URI is used; undefined if the environment names one, or nobody does. */
  file?: string;
}

/**
 * The environment, laid over what a running `npm start` left in the `rs-agent.env` of its run
 * folder, so that commands in the same checkout find the system without being told.
 * RS_AGENT_ENV_FILE names another file.
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
  // With a database of its own it is another system, with its own listener and engines.
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
