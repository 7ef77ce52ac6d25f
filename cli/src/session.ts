import { RetryableError, TerminalError } from "@rs-agent/shared/errors.ts";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import type { CliConfig } from "./config.ts";
import type { Actor } from "./interventions.ts";
import type { Output } from "./terminal.ts";

/** What every command is given. */
export interface CliDeps {
  /** The environment, with what a running system left for us. */
  env: NodeJS.ProcessEnv;
  /** The file of a running system that MONGODB_URI was taken from. */
  settingsFile?: string | undefined;
  output: Output;
  /**
   * A status line, apart from the result, that may be overwritten; undefined: where complaints go.
   */
  live?: { isTTY?: boolean; write(text: string): unknown };
  /** Reads a file, or standard input for `-`. */
  readInput(path: string): Promise<Buffer>;
  /** Sets how the command ends if nothing is thrown. The last call counts; without one it is 0. */
  setExitCode(code: number): void;
}

export interface Session {
  database: Database;
  config: CliConfig;
  actor(): Actor;
}

/**
 * Opens the database, runs, closes. The driver is loaded here, because not every command needs it.
 */
export async function withDatabase<T>(
  { env, settingsFile }: Pick<CliDeps, "env" | "settingsFile">,
  run: (session: Session) => Promise<T>,
): Promise<T> {
  const { loadCliConfig } = await import("./config.ts");
  const config = loadCliConfig(env);
  const { openSilently } = await import("./open-database.ts");
  await using database = await openSilently(config).catch((error: unknown) => {
    throw settingsFile === undefined ? error : asLeftBehind(error, settingsFile);
  });
  const actor = () => ({ by: config.by, now: database.clock.now() });
  return await run({ database, config, actor });
}

/** A killed `npm start` could not remove its settings. */
function asLeftBehind(error: unknown, file: string): unknown {
  if (!(error instanceof RetryableError)) return error;
  const text = `${error.message}; MONGODB_URI is that of ${file}: does this npm start still run?`;
  return new RetryableError(error.code, text, { cause: error });
}

/** @throws TerminalError CLI_NOT_FOUND */
export async function mailById(
  { mails }: Pick<Database, "mails">,
  id: string,
): Promise<MailRecord> {
  const mail = await mails.get(id);
  if (mail === undefined) throw new TerminalError("CLI_NOT_FOUND", `no mail has the id ${id}`);
  return mail;
}
