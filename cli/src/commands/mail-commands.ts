import { InvalidArgumentError, Option, type Command } from "commander";
import { RsError } from "@rs-agent/shared/errors.ts";
import { mailStates, type MailRecord, type MailState } from "@rs-agent/shared/mail/record.ts";
import { durationMs, durationSchema } from "@rs-agent/shared/policy/duration.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import { explain } from "../explain.ts";
import { cancel, hold, retryNow, type Actor, type Intervention } from "../interventions.ts";
import { mailList } from "../mail-list.ts";
import { readSystem, type SeenSystem } from "../seen-system.ts";
import { intervene, mailById, withDatabase, type CliDeps } from "../session.ts";
import { printable } from "../terminal.ts";
import { withoutKeys } from "../without-keys.ts";

export function addMailCommands(program: Command, deps: CliDeps): void {
  addExplain(program, deps);
  addFind(program, deps);
  addIntervention(program, deps, "retry-now", "make waiting or held mail due now", retryNow);
  addIntervention(program, deps, "cancel", "give mail up; nobody is told", cancel);
  program
    .command("hold")
    .description("keep mail back, for a person or for a time")
    .argument("<id...>")
    .option("--for <duration>", "such as 2h; then it goes on by itself", parseDuration)
    .action((ids: string[], options: { for?: number }) =>
      interveneAll(deps, ids, (mail, actor) => hold(mail, actor, later(actor.now, options.for))),
    );
}

function addExplain(program: Command, deps: CliDeps): void {
  program
    .command("explain")
    .description("the whole story of one mail, and what comes next")
    .argument("<id>")
    .option("--json", "print the record as JSON")
    .action(async (id: string, options: { json?: true }) => {
      const story = await withDatabase(deps, ({ database }) => readStory(database, id));
      const { mail, children, reports } = story;
      if (options.json === true) deps.output.json(withoutKeys({ ...mail, children, reports }));
      else deps.output.print(explainStory(story));
    });
}

/** All that `explain` is made of. */
interface Story {
  mail: MailRecord;
  /** The parts that it was split into. */
  children: MailRecord[];
  /** Our own reports on it. */
  reports: MailRecord[];
  now: Date;
  system: SeenSystem;
}

export async function readStory(database: Database, id: string): Promise<Story> {
  const mail = await mailById(database, id);
  const [children, reports, system] = await Promise.all([
    mail.state === "split" ? database.mails.children(id) : [],
    reportsOn(database, mail),
    readSystem(database),
  ]);
  return { mail, children, reports, now: database.clock.now(), system };
}

export function explainStory({ mail, children, reports, now, system }: Story): string {
  return explain(mail, [...children, ...reports], now, system);
}

/** What we told the sender of recipients that failed. */
async function reportsOn({ mails }: Database, mail: MailRecord): Promise<MailRecord[]> {
  const { _id: id, recipients, receivedAt: since } = mail;
  const to = mail.smtp.mailFrom;
  if (to === "" || !recipients.some(({ outcome }) => outcome === "bounced")) return [];
  const found = await mails.find({ from: "", to, since, limit: 1_000 });
  return found.filter(({ origin }) => origin.via === "dsn" && origin.name === id);
}

interface FindOptions {
  to?: string;
  from?: string;
  messageId?: string;
  since?: Date;
  until?: Date;
  state?: MailState;
  limit: number;
  json?: true;
}

function addFind(program: Command, deps: CliDeps): void {
  program
    .command("find")
    .description("mails by address, Message-ID, time or state, newest first")
    .option("--to <address>", "recipient")
    .option("--from <address>", "SMTP sender")
    .option("--message-id <id>", "Message-ID field")
    .option(
      "--since <time>",
      "an instant (2026-01-31, '2026-01-31 12:00', UTC) or an age (2h)",
      parseTime,
    )
    .option("--until <time>", "likewise", parseTime)
    .addOption(new Option("--state <state>", "where the mail stands").choices(mailStates))
    .option("--limit <count>", "at the most so many", parseCount, 50)
    .option("--json", "print the records as JSON")
    .action(async (options: FindOptions) => {
      const { json, ...query } = options;
      const found = await withDatabase(deps, ({ database }) => database.mails.find(query));
      if (json === true) deps.output.json(withoutKeys(found));
      else deps.output.print(found.length === 0 ? "no mail found" : mailList(found, query));
    });
}

function addIntervention(
  program: Command,
  deps: CliDeps,
  name: string,
  description: string,
  make: (mail: MailRecord, actor: Actor) => Intervention,
): void {
  program
    .command(name)
    .description(description)
    .argument("<id...>")
    .action((ids: string[]) => interveneAll(deps, ids, make));
}

/**
 * One line a mail. One that is refused, or that nobody has any more, is named on standard error and
 * does not keep the others from their turn; the exit code is 1 then.
 */
export async function interveneAll(
  deps: CliDeps,
  ids: readonly string[],
  make: (mail: MailRecord, actor: Actor) => Intervention,
): Promise<void> {
  await withDatabase(deps, async (session) => {
    for (const id of ids) {
      try {
        deps.output.print(`${printable(id)}: ${await intervene(session, id, make)}`);
      } catch (error) {
        if (!(error instanceof RsError) || !error.code.startsWith("CLI_")) throw error;
        deps.output.complain(`${error.code}: ${printable(error.message)}`);
        deps.setExitCode(1);
      }
    }
  });
}

function later(now: Date, ms: number | undefined): Date | undefined {
  return ms === undefined ? undefined : new Date(now.getTime() + ms);
}

function parseDuration(text: string): number {
  const parsed = durationSchema.safeParse(text);
  if (parsed.success) return durationMs(parsed.data);
  throw new InvalidArgumentError("It must be a duration such as 30m, 4h or 7d.");
}

/** As we show instants ourselves: UTC, unless another zone is named. */
function parseTime(text: string): Date {
  if (durationSchema.safeParse(text).success) return new Date(Date.now() - durationMs(text));
  const isZoned = /(z|[+-]\d{2}:?\d{2})$/i.test(text) && /\d[t ]\d/i.test(text);
  const at = new Date(isZoned ? text : `${text}Z`);
  if (/^\d{4}-\d{2}/.test(text) && !Number.isNaN(at.getTime())) return at;
  throw new InvalidArgumentError("It must be such as 2026-01-31, '2026-01-31 12:00' (UTC) or 2h.");
}

export function parseCount(text: string): number {
  const count = Number(text);
  if (Number.isSafeInteger(count) && count > 0 && count <= 100_000) return count;
  throw new InvalidArgumentError("It must be a number from 1 to 100000.");
}
