import { InvalidArgumentError, Option, type Command } from "commander";
import { mailStates, type MailState } from "@rs-agent/shared/life/states.ts";
import { durationMs, durationSchema } from "@rs-agent/shared/duration.ts";
import { mailList } from "../mail-list.ts";
import { withDatabase, type CliDeps } from "../session.ts";
import { withoutKeys } from "../without-keys.ts";
import { parseCount } from "./counts.ts";

interface FindOptions {
  to?: string;
  from?: string;
  messageId?: string;
  since?: Date;
  until?: Date;
  state?: MailState;
  unreported?: true;
  limit: number;
  json?: true;
}

export function addFind(program: Command, deps: CliDeps): void {
  program
    .command("find")
    .option("--to <address>", "recipient")
    .option("--from <address>", "SMTP sender")
    .option("--message-id <id>", "Message-ID field")
    .option(
      "--since <time>",
      "an instant (2026-01-31, '2026-01-31 12:00', UTC) or an age (2h)",
      parseTime,
    )
    .option("--until <time>", "the same", parseTime)
    .addOption(new Option("--state <state>", "where the mail stands").choices(mailStates))
    .option("--unreported", "only mail that failed without anybody being told")
    .option("--limit <count>", "list at most this many", parseCount, 50)
    .option("--json", "print the records as JSON")
    .action(async (options: FindOptions) => {
      const { json, ...query } = options;
      const found = await withDatabase(deps, ({ database }) => database.mails.find(query));
      if (json === true) deps.output.json(withoutKeys(found));
      else deps.output.print(found.length === 0 ? "no mail found" : mailList(found, query));
    });
}

/** Times are read as we show them: UTC, unless another zone is named. */
function parseTime(text: string): Date {
  if (durationSchema.safeParse(text).success) return new Date(Date.now() - durationMs(text));
  const isZoned = /(z|[+-]\d{2}:?\d{2})$/i.test(text) && /\d[t ]\d/i.test(text);
  const at = new Date(isZoned ? text : `${text}Z`);
  if (/^\d{4}-\d{2}/.test(text) && !Number.isNaN(at.getTime())) return at;
  throw new InvalidArgumentError(
    "It must be a time such as 2026-01-31, '2026-01-31 12:00' (UTC) or 2h.",
  );
}
