import { exit } from "@rs-agent/shared/lifecycle.ts";
import { exitCodes } from "./clamav/outcome.ts";
import { runClamavCli } from "./clamav/program.ts";

const { stdout, stderr, stdin } = process;
// Nobody reads on, as in `clamav-cli scan / | head -1`: no result can be told any more.
stdout.on("error", () => exit(exitCodes.error));
process.exitCode = await runClamavCli(process.argv.slice(2), { stdout, stderr, stdin });
