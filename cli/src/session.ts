import { setTimeout as pause } from "node:timers/promises";
import { systemClock } from "@rs-agent/shared/clock.ts";
import { RetryableError, TerminalError } from "@rs-agent/shared/errors.ts";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import { openDatabase, type Database } from "@rs-agent/shared/store/database.ts";
import { carryOut } from "./carry-out.ts";
import { loadCliConfig, type CliConfig } from "./config.ts";
import type { Actor, Intervention } from "./interventions.ts";
import type { Output } from "./terminal.ts";

/** What every command is given. */
export interface CliDeps {
  /** The environment, with what a running system left for us. */
  env: NodeJS.ProcessEnv;
  /** The file of a running system that MONGODB_URI was taken from. */
  settingsFile?: string | undefined;
  output: Output;
  /** A line that may move, beside the result; undefined: complaints' place. */
  live?: { isTTY?: boolean; write(text: string): unknown };
  /** Reads a file, or standard input for `-`. */
  readInput(path: string): Promise<Buffer>;
  /** How the command ends where nothing was thrown; the last call counts. 0 without one. */
  setExitCode(code: number): void;
}

export interface Session {
  database: Database;
  config: CliConfig;
  actor(): Actor;
}

/** Opens the database, runs, closes. */
export async function withDatabase<T>(
  { env, settingsFile }: Pick<CliDeps, "env" | "settingsFile">,
  run: (session: Session) => Promise<T>,
): Promise<T> {
  const config = loadCliConfig(env);
  const database = await openDatabase({
    uri: config.MONGODB_URI,
    db: config.MONGODB_DB,
    clock: systemClock,
    log: createSilentLogger(),
  }).catch((error: unknown) => {
    throw settingsFile === undefined ? error : asLeftBehind(error, settingsFile);
  });
  try {
    const actor = () => ({ by: config.by, now: database.clock.now() });
    return await run({ database, config, actor });
  } finally {
    await database.close();
  }
}

/** A start that was killed could not take its settings away. */
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

/** How long a service that works on the mail just now is waited for. */
const patienceMs = 5_000;

/**
 * Reads the mail, asks what the intervention makes of it, and has that carried out. Where the mail
 * changed meanwhile it is read again.
 * @throws TerminalError CLI_REFUSED, CLI_NOT_FOUND; RetryableError CLI_REFUSED while a service keeps it
 */
export async function intervene(
  { database, actor, config }: Pick<Session, "database" | "actor" | "config">,
  id: string,
  make: (mail: MailRecord, actor: Actor) => Intervention,
  options: { patienceMs?: number } = {},
): Promise<string> {
  const { clock } = database;
  const giveUpAt = clock.monotonicMs() + (options.patienceMs ?? patienceMs);
  for (;;) {
    const mail = await mailById(database, id);
    const by = actor();
    const intervention = make(mail, by);
    const carried = await carryOut(database, mail, intervention, by, config.MAIL_HOSTNAME);
    if (carried === "written") return intervention.told;
    if (clock.monotonicMs() >= giveUpAt) throw inHand(mail);
    await pause(200);
  }
}

function inHand({ _id, lease }: MailRecord): RetryableError {
  const who = lease === undefined ? "a service" : lease.owner;
  return new RetryableError("CLI_REFUSED", `${_id}: ${who} works on it now; try again in a moment`);
}
