import type { Command } from "commander";
import { askReady } from "../ready.ts";
import type { CliDeps } from "../session.ts";

/** Only for the list of commands; `bin/rs-agent.mjs` runs it without loading the others. */
export function addReady(program: Command, deps: CliDeps): void {
  program
    .command("ready")
    .usage("[--url URL] [--live] [--timeout MS]")
    .helpOption(false)
    .allowUnknownOption()
    .argument("[options...]")
    .action(async (options: string[]) => {
      const { exitCode, text } = await askReady(options, deps.env);
      if (exitCode === 0) deps.output.print(text);
      else deps.output.complain(text);
      deps.setExitCode(exitCode);
    });
}
