import { Argument, InvalidArgumentError, type Command } from "commander";
import {
  pausableSteps,
  pausableStepSchema,
  type PausableStep,
} from "@rs-agent/shared/store/controls.ts";
import { rsAgent } from "../called-as.ts";
import { withDatabase, type CliDeps } from "../session.ts";

const step = () =>
  new Argument("<step>", `${pausableSteps.join(", ")} or a check of your own`).argParser(stepOf);

function stepOf(text: string): PausableStep {
  const parsed = pausableStepSchema.safeParse(text);
  if (parsed.success) return parsed.data;
  throw new InvalidArgumentError(
    `Allowed choices are ${pausableSteps.join(", ")} and the names of checks of your own.`,
  );
}

export function addPause(program: Command, deps: CliDeps): void {
  program
    .command("pause")
    .addArgument(step())
    .action(async (name: PausableStep) => {
      await withDatabase(deps, ({ database, config }) => database.controls.pause(name, config.by));
      deps.output.tell(`${name} is paused; to go on: ${rsAgent} resume ${name}`);
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
