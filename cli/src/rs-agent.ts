import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { CommanderError } from "commander";
import { messageOf, TerminalError } from "@rs-agent/shared/errors.ts";
import { exit, exitWithError } from "@rs-agent/shared/lifecycle.ts";
import { columnsOf } from "@rs-agent/shared/wrap-at-words.ts";
import { runProgram } from "./program.ts";
import { withRunningSystem } from "./running-system.ts";
import { createOutput } from "./terminal.ts";

/** `rs-agent`: reads the environment and the arguments, runs one command, reports how it went. */
const root = join(import.meta.dirname, "..", "..");
let exitCode = 0;

// A reader that has seen enough (`| head`) is not an error.
process.stdout.on("error", () => exit(exitCode));
await run().catch((error: unknown) => {
  if (error instanceof CommanderError) exit(error.exitCode === 0 ? 0 : 64);
  exitWithError(error);
});
process.exitCode = exitCode;

async function run(): Promise<void> {
  const { env, file } = withRunningSystem(process.env, root);
  const { stdout, stderr } = process;
  await runProgram(process.argv.slice(2), {
    env,
    settingsFile: file,
    output: createOutput(
      (text) => stdout.write(text),
      (text) => stderr.write(text),
      { out: columnsOf(stdout), error: columnsOf(stderr) },
    ),
    live: stderr,
    readInput,
    setExitCode: (code) => {
      exitCode = code;
    },
  });
}

async function readInput(path: string): Promise<Buffer> {
  try {
    return path === "-" ? await buffer(process.stdin) : await readFile(path);
  } catch (error) {
    throw new TerminalError("CLI_FILE", `${path}: ${whyUnreadable(error)}`, { cause: error });
  }
}

function whyUnreadable(error: unknown): string {
  switch ((error as NodeJS.ErrnoException).code) {
    case "ENOENT":
      return "no such file";
    case "EISDIR":
      return "is a folder";
    case "EACCES":
      return "may not be read by this user";
    default:
      return messageOf(error);
  }
}
