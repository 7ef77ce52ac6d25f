import type { Command } from "commander";
import { drop, release, retryDead } from "../interventions.ts";
import { mailList } from "../mail-list.ts";
import { withDatabase, type CliDeps } from "../session.ts";
import { withoutKeys } from "../without-keys.ts";
import { explainStory, readStory } from "../story.ts";
import { interveneAll } from "../intervene.ts";
import { parseCount } from "./counts.ts";

type KeptState = "quarantined" | "dead";

/** Mail that is held back for a person: `quarantine ls|show|release|delete`. */
export function addQuarantine(program: Command, deps: CliDeps): void {
  const group = program.command("quarantine");
  addList(group, deps, "quarantined");
  addShow(group, deps);
  group
    .command("release")
    .description("let mail pass a finding; it then takes every step that it has not had")
    .argument("<id...>")
    .option(
      "--override <finding...>",
      "the finding that is overridden, as `quarantine ls` shows it",
    )
    .action((ids: string[], options: { override?: string[] }) =>
      interveneAll(deps, ids, (mail, actor) => release(mail, options.override ?? [], actor)),
    );
  group
    .command("delete")
    .description("remove mail with its body")
    .argument("<id...>")
    .action((ids: string[]) =>
      interveneAll(deps, ids, (mail, actor) => drop(mail, "quarantined", actor)),
    );
}

/** Mail whose processing was given up: `dead ls|show|retry|drop`. */
export function addDead(program: Command, deps: CliDeps): void {
  const group = program.command("dead");
  addList(group, deps, "dead");
  addShow(group, deps);
  group
    .command("retry")
    .description("take mail up again")
    .argument("<id...>")
    .action((ids: string[]) => interveneAll(deps, ids, retryDead));
  group
    .command("drop")
    .description("remove mail with its body")
    .argument("<id...>")
    .action((ids: string[]) => interveneAll(deps, ids, (mail, actor) => drop(mail, "dead", actor)));
}

function addList(group: Command, deps: CliDeps, state: KeptState): void {
  group
    .command("ls")
    .description("newest first")
    .option("--to <address>", "recipient")
    .option("--limit <count>", "list at most this many", parseCount, 50)
    .option("--json", "print the records as JSON")
    .action(async (options: { to?: string; limit: number; json?: true }) => {
      const { json, ...query } = options;
      const kept = await withDatabase(deps, async ({ database }) => {
        const found = await database.mails.find({ ...query, state });
        const now = database.clock.now();
        return found.filter(({ expireAt }) => expireAt === undefined || expireAt > now);
      });
      if (json === true) deps.output.json(withoutKeys(kept));
      else deps.output.print(kept.length === 0 ? "none" : mailList(kept, query));
    });
}

function addShow(group: Command, deps: CliDeps): void {
  group
    .command("show")
    .description("the whole story; --raw: the mail itself, as it came in")
    .argument("<id>")
    .option("--raw", "print the raw mail")
    .action(async (id: string, options: { raw?: true }) => {
      const shown = await withDatabase(deps, async ({ database }) => {
        const story = await readStory(database, id);
        return options.raw === true ? database.bodies.get(story.mail.body) : explainStory(story);
      });
      if (typeof shown === "string") deps.output.print(shown);
      else deps.output.bytes(shown);
    });
}
