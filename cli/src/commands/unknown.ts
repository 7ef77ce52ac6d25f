import { Option, type Command } from "commander";
import { unknownList } from "../mail-list.ts";
import { askForProof } from "../sender-check.ts";
import { withDatabase, type CliDeps } from "../session.ts";
import {
  foundOutcomes,
  needsProof,
  resend,
  settle,
  type FoundOutcome,
} from "../unknown-outcomes.ts";
import { withoutKeys } from "../without-keys.ts";
import { interveneAll } from "../intervene.ts";
import { parseCount } from "./counts.ts";

/** Mail that the next hop may or may not have, held for a person: `unknown ls|resend|settle`. */
export function addUnknown(program: Command, deps: CliDeps): void {
  const group = program.command("unknown");
  addList(group, deps);
  group
    .command("resend")
    .description("send it again: perhaps a duplicate, with the same Message-ID")
    .argument("<id...>")
    .action((ids: string[]) => interveneAll(deps, ids, resend));
  group
    .command("settle")
    .description("say what became of it at the hop; bounced tells a verified sender")
    .argument("<id...>")
    .addOption(
      new Option("--as <outcome>", "what was found out, or decided")
        .choices(foundOutcomes)
        .makeOptionMandatory(),
    )
    .option("--to <address...>", "only these recipients (default: all that are concerned)")
    .option("--reply <words>", "the hop's own reply, for the record and the report")
    .action((ids: string[], options: { as: FoundOutcome; to?: string[]; reply?: string }) =>
      interveneAll(deps, ids, async (mail, actor, session) => {
        const proof = needsProof(mail, options) ? await askForProof(session, mail) : undefined;
        return settle(mail, options, actor, proof);
      }),
    );
}

function addList(group: Command, deps: CliDeps): void {
  group
    .command("ls")
    .description("newest first, with the recipients concerned and the last words known")
    .option("--to <address>", "recipient")
    .option("--limit <count>", "list at most this many", parseCount, 50)
    .option("--json", "print the records as JSON")
    .action(async (options: { to?: string; limit: number; json?: true }) => {
      const { json, ...query } = options;
      const held = await withDatabase(deps, ({ database }) =>
        database.mails.find({ ...query, state: "held", unknown: true }),
      );
      if (json === true) deps.output.json(withoutKeys(held));
      else deps.output.print(held.length === 0 ? "none" : unknownList(held, query));
    });
}
