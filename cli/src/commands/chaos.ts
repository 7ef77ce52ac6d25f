import type { Command } from "commander";
import type { ChaosArguments } from "@rs-agent/chaos/command.ts";
import type { CliDeps } from "../session.ts";
import { withoutKit } from "../without-kit.ts";

/** `rs-agent chaos`: the kill kit on a private system of its own; it touches no installation. */
export function addChaos(program: Command, deps: CliDeps): void {
  program
    .command("chaos")
    .option("--mails <n>", "mails to hand in (2000)")
    .option("--kills <n>", "faults to cause (60)")
    .option("--seed <n>", "determines mails and faults; without it one is drawn and printed")
    .option("--json", "print the result as JSON")
    .option("--keep", "keep logs and data even if everything holds")
    .action(async (given: ChaosArguments) => {
      // Loaded only here: the kit brings database drivers and SMTP servers with it.
      const { chaosCommand, runChaosCommand } = await import("@rs-agent/chaos/command.ts").catch(
        withoutKit("the kill kit", "npm run chaos"),
      );
      const { output } = deps;
      const exitCode = await runChaosCommand(chaosCommand(given), {
        print: (text) => output.print(text),
        say: (text) => output.complain(text),
      });
      deps.setExitCode(exitCode);
    });
}
