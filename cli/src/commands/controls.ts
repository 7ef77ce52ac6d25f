import { Argument, type Command } from "commander";
import { pausableSteps, type PausableStep } from "@rs-agent/shared/store/controls.ts";
import { withDatabase, type CliDeps } from "../session.ts";

export function addControls(program: Command, deps: CliDeps): void {
  const step = () => new Argument("<step>", "the step").choices(pausableSteps);
  program
    .command("pause")
    .description("stop one step for all mail; mail waits before it")
    .addArgument(step())
    .action(async (name: PausableStep) => {
      await withDatabase(deps, ({ database, config }) => database.controls.pause(name, config.by));
      deps.output.print(`${name} is paused; rs-agent resume ${name} goes on`);
    });
  program
    .command("resume")
    .description("go on with a paused step")
    .addArgument(step())
    .action(async (name: PausableStep) => {
      await withDatabase(deps, ({ database }) => database.controls.resume(name));
      deps.output.print(`${name} goes on`);
    });
}
