import { Command } from "commander";
import { rsAgent } from "./called-as.ts";
import { commands, type CommandEntry } from "./commands.ts";
import type { CliDeps } from "./session.ts";

const help = { helpWidth: 80, showGlobalOptions: false };

/**
 * Runs the command that the arguments name. Only that command's module is loaded: the help and a
 * wrong name need none. Usage errors are thrown.
 */
export async function runProgram(args: readonly string[], deps: CliDeps): Promise<void> {
  const [first, second] = args;
  const named = first === "help" ? second : first;
  const program = new Command("rs-agent")
    .description("RadicalSpam Agent: look at mail on its way, and act on it")
    .configureHelp(help)
    .configureOutput({
      writeOut: (text) => deps.output.print(text.trimEnd()),
      writeErr: (text) => deps.output.complain(text.trimEnd()),
    })
    .showHelpAfterError(`(${rsAgent} help shows all commands)`)
    .exitOverride();
  for (const entry of commands) {
    if (entry.name === named) await addWhole(program, entry, deps);
    else program.command(entry.name).description(entry.does);
  }
  const takes = new Map(commands.map((entry) => [entry.name, entry.takes]));
  program.configureHelp({
    ...help,
    subcommandTerm: (command) =>
      `${command.name()} ${takes.get(command.name()) ?? "[command]"}`.trimEnd(),
  });
  await program.parseAsync([...args], { from: "user" });
}

async function addWhole(program: Command, entry: CommandEntry, deps: CliDeps): Promise<void> {
  const add = await entry.load();
  add(program, deps);
  program.commands.find((one) => one.name() === entry.name)?.description(entry.does);
}
