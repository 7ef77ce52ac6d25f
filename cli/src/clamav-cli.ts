import { join } from "node:path";
import { exit, exitWithError } from "@rs-agent/shared/lifecycle.ts";
import { exitCodes } from "./clamav/outcome.ts";
import { runClamavCli } from "./clamav/program.ts";
import { withRunningSystem } from "./running-system.ts";

const { stdout, stderr, stdin } = process;
// Nobody reads any more, as in `clamav-cli scan / | head -1`: no result can be told.
stdout.on("error", () => exit(exitCodes.error));
try {
  const root = join(import.meta.dirname, "..", "..");
  // In the checkout of a running `npm start`, that system's clamd is the usual one.
  const { AV_CLAMD } = withRunningSystem(process.env, root).env;
  process.exitCode = await runClamavCli(process.argv.slice(2), { stdout, stderr, stdin }, AV_CLAMD);
} catch (error) {
  exitWithError(error);
}
