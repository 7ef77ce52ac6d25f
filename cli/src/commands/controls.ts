import { Argument, type Command } from "commander";
import { pausableSteps, type PausableStep } from "@rs-agent/shared/store/controls.ts";
import { rsAgent } from "../called-as.ts";
import { withDatabase, type CliDeps } from "../session.ts";

const step = () => new Argument("<step>", "the step").choices(pausableSteps);

export function addPause(program: Command, deps: CliDeps): void {
  program
    .command("pause")
    .addArgument(step())
    .action(async (name: PausableStep) => {
      await withDatabase(deps, ({ database, config }) => database.controls.pause(name, config.by));
      deps.output.tell(`${name} is paused; ${rsAgent} resume ${name} goes on`);
    });
}

export function addResume(program: Command, deps: CliDeps): void {
  program
    .command("resume")
    .addArgument(step())
    .action(async (name: PausableStep) => {
      await withDatabase(deps, ({ database }) => database.controls.resume(name));
      deps.output.tell(`${name} goes on`);
    });
}
