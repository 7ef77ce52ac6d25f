import { setTimeout as pause } from "node:timers/promises";
import { RetryableError, RsError } from "@rs-agent/shared/errors.ts";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import { carryOut } from "./carry-out.ts";
import type { Actor, Intervention } from "./interventions.ts";
import { mailById, withDatabase, type CliDeps, type Session } from "./session.ts";
import { printable } from "./terminal.ts";

/** How long to wait for a service that is working on the mail. */
const patienceMs = 5_000;

/**
 * Reads the mail, asks what the intervention makes of it, and carries that out. If the mail has
 * changed meanwhile, it is read again.
 * @throws TerminalError CLI_REFUSED, CLI_NOT_FOUND; RetryableError CLI_REFUSED while a service
 *   holds it
 */
async function intervene(
  { database, actor, config }: Pick<Session, "database" | "actor" | "config">,
  id: string,
  make: (mail: MailRecord, actor: Actor) => Intervention | Promise<Intervention>,
  options: { patienceMs?: number } = {},
): Promise<string> {
  const { clock } = database;
  const giveUpAt = clock.monotonicMs() + (options.patienceMs ?? patienceMs);
  for (;;) {
    const mail = await mailById(database, id);
    const by = actor();
    const intervention = await make(mail, by);
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

/**
 * Prints one line per mail. A mail that is refused or gone is named on standard error and does not
 * stop the others; the exit code is then 1.
 */
export async function interveneAll(
  deps: CliDeps,
  ids: readonly string[],
  make: (mail: MailRecord, actor: Actor, session: Session) => Intervention | Promise<Intervention>,
): Promise<void> {
  await withDatabase(deps, async (opened) => {
    const makeOf = (mail: MailRecord, actor: Actor) => make(mail, actor, opened);
    for (const id of ids) {
      try {
        deps.output.tell(`${printable(id)}: ${await intervene(opened, id, makeOf)}`);
      } catch (error) {
        if (!(error instanceof RsError) || !error.code.startsWith("CLI_")) throw error;
        deps.output.complain(`${error.code}: ${printable(error.message)}`);
        deps.setExitCode(1);
      }
    }
  });
}
