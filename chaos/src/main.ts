import { exit, exitWithError } from "@rs-agent/shared/lifecycle.ts";
import { parseChaosArguments, runChaosCommand, usage } from "./command.ts";

/** `npm run chaos`: see `usage` in command.ts. */
await main().catch(exitWithError);

async function main(): Promise<void> {
  const print = (text: string) => process.stdout.write(`${text}\n`);
  const say = (text: string) => process.stderr.write(`${text}\n`);
  const command = parseChaosArguments(process.argv.slice(2));
  if (command === "help") print(usage);
  else exit(await runChaosCommand(command, { print, say }));
}
