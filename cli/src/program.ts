import { Command } from "commander";
import { addChaos } from "./commands/chaos.ts";
import { addControls } from "./commands/controls.ts";
import { addDoctor } from "./commands/doctor.ts";
import { addFlood } from "./commands/flood.ts";
import { addKeys } from "./commands/keys.ts";
import { addMailCommands } from "./commands/mail-commands.ts";
import { addPolicy } from "./commands/policy.ts";
import { addDead, addQuarantine } from "./commands/quarantine.ts";
import { addReady } from "./commands/ready.ts";
import { addStatus } from "./commands/status.ts";
import { addSubmit } from "./commands/submit.ts";
import { addUnknown } from "./commands/unknown.ts";
import type { CliDeps } from "./session.ts";

/** All commands of `rs-agent`. Nothing runs before `parseAsync`; usage errors are thrown. */
export function createProgram(deps: CliDeps): Command {
  const program = new Command("rs-agent")
    .description("RadicalSpam Agent: look at mail on its way, and act on it")
    .configureHelp({ helpWidth: 80, showGlobalOptions: false })
    .configureOutput({ writeOut: (text) => deps.output.print(text.trimEnd()) })
    .showHelpAfterError("(rs-agent help shows all commands)")
    .exitOverride();
  addStatus(program, deps);
  addSubmit(program, deps);
  addMailCommands(program, deps);
  addQuarantine(program, deps);
  addDead(program, deps);
  addUnknown(program, deps);
  addPolicy(program, deps);
  addControls(program, deps);
  addKeys(program, deps);
  addDoctor(program, deps);
  addReady(program, deps);
  addChaos(program, deps);
  addFlood(program, deps);
  return program;
}
