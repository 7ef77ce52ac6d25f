import type { Command } from "commander";
import { withDatabase, type CliDeps } from "../session.ts";
import { explainStory, readStory } from "../story.ts";
import { withoutKeys } from "../without-keys.ts";

export function addExplain(program: Command, deps: CliDeps): void {
  program
    .command("explain")
    .argument("<id>")
    .option("--json", "print the record as JSON")
    .action(async (id: string, options: { json?: true }) => {
      const story = await withDatabase(deps, ({ database }) => readStory(database, id));
      const { mail, children, reports } = story;
      if (options.json === true) deps.output.json(withoutKeys({ ...mail, children, reports }));
      else deps.output.print(explainStory(story));
    });
}
