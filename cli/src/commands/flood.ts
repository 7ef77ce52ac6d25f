import { dirname } from "node:path";
import type { Command } from "commander";
import type { FloodArguments } from "@rs-agent/flood/command.ts";
import { loadConfig } from "@rs-agent/shared/config.ts";
import { loadCliConfig } from "../config.ts";
import { peerConfigSchema } from "../peer-config.ts";
import type { CliDeps } from "../session.ts";
import { withoutKit } from "../without-kit.ts";

/** `rs-agent flood`: load at a stated rate, measured from outside (docs/flood.md). */
export function addFlood(program: Command, deps: CliDeps): void {
  const command = program.command("flood");
  for (const [flags, description] of options) command.option(flags, description);
  command
    .option("--pid <name=PID...>", "also measure CPU and memory of this process on this host")
    .option("--no-mongo", "use no database, even if MONGODB_URI is set")
    .action(async (given: FloodArguments) => {
      deps.setExitCode(await flood(given, deps));
    });
}

const options = [
  ["--to <target>", "smtp://host:port (default: $INGEST_SMTP), or mongo: straight into MongoDB"],
  ["--rate <schedule>", "mails per second: 50, 10:30s,100:60s, a ramp 10-200:60s (default: 10)"],
  ["--as-fast-as-accepted", "instead of a rate: a new mail whenever a connection is free"],
  ["--mails <n>", "send at most this many"],
  ["--for <duration>", "send for at most this long (default: 30s without --mails)"],
  ["--connections <n>", "open at most this many, and keep each (default: 32)"],
  ["--max-waiting <n>", "mails that may wait for a connection (default: 10000)"],
  ["--timeout <duration>", "how long to wait for each reply (default: 60s)"],
  ["--mix <shares>", "shares of clean, spam, virus, big, corpus (clean:90,spam:8,virus:1,big:1)"],
  ["--size <sizes>", "4k, 1k-50k or 2k-10k:80,100k:20, for all but big and corpus (default: 4k)"],
  ["--big-size <size>", "size of the attachment of a big mail (default: 5m)"],
  ["--tenants <domains>", "recipients' domains or addresses, or a file with one per line"],
  ["--recipients <n>", "recipients per mail, such as 1 or 1-3 (default: 1)"],
  ["--from <domain>", "domain of the SMTP senders (default: flood.example)"],
  ["--corpus <path>", "real mail: a folder, an mbox or one mail"],
  ["--seed <n>", "determines the mails; without it one is drawn and printed"],
  ["--sink <host:port>", "act as the next hop there, and measure until mail arrives"],
  ["--check", "wait for the end, and check that each recipient met the right one"],
  ["--wait <duration>", "how long to wait for the end while nothing moves (default: 60s)"],
  ["--json", "print the result as JSON"],
  ["--report <file.html>", "write it as a page with charts"],
  ["--i-own-this-target", "needed for a target that is not on this host"],
] as const;

async function flood(given: FloodArguments, deps: CliDeps): Promise<number> {
  const { runFloodCommand, processesOfStart } = await import("@rs-agent/flood/command.ts").catch(
    withoutKit("the load tool", "npx rs-agent flood"),
  );
  const { env, settingsFile, output } = deps;
  const hasDatabase = (env.MONGODB_URI ?? env.MONGODB_URI_FILE ?? "") !== "";
  const config = hasDatabase ? loadCliConfig(env) : undefined;
  const settings = {
    smtp: loadConfig(peerConfigSchema, env).INGEST_SMTP,
    database: config && { uri: config.MONGODB_URI, db: config.MONGODB_DB },
    processes: settingsFile === undefined ? [] : processesOfStart(dirname(settingsFile)),
  };
  const live = deps.live ?? { write: (text) => output.complain(text.trimEnd()) };
  return runFloodCommand(given, settings, { print: (text) => output.print(text), live });
}
