import { exit, exitWithError } from "@rs-agent/shared/lifecycle.ts";
import { parseChaosCommand, runChaosCommand } from "./command.ts";

/** `npm run chaos`: see `usage` in command.ts. */
await main().catch(exitWithError);

async function main(): Promise<void> {
  const command = parseChaosCommand(process.argv.slice(2));
  exit(
    await runChaosCommand(command, {
      print: (text) => process.stdout.write(`${text}\n`),
      say: (text) => process.stderr.write(`${text}\n`),
    }),
  );
}
