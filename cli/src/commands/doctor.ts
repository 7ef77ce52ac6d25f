import { dirname, join } from "node:path";
import type { Command } from "commander";
import { loadConfig } from "@rs-agent/shared/config.ts";
import type { ClamdConf } from "../clamd-conf.ts";
import { diagnosisText } from "../doctor/diagnosis.ts";
import { diagnoseClamd, diagnoseRspamd, diagnoseSpamd } from "../doctor/engines.ts";
import { diagnoseSystem } from "../doctor/system.ts";
import { peerConfigSchema } from "../peer-config.ts";
import type { CliDeps } from "../session.ts";

interface DoctorOptions {
  clamd?: string[];
  clamdConf?: string;
  spamd?: string[];
  rspamd?: string[];
  dns?: string[];
  json?: true;
}

export function addDoctor(program: Command, deps: CliDeps): void {
  program
    .command("doctor")
    .option("--clamd <address...>", "host:port or socket path (default: $AV_CLAMD)")
    .option("--clamd-conf <file>", "the clamd.conf of a single clamd, if it is not found")
    .option("--spamd <address...>", "host:port or socket path (default: $SPAM_SPAMD)")
    .option("--rspamd <address...>", "host:port or socket path (default: $SPAM_RSPAMD)")
    .option("--dns <address...>", "name servers for DKIM's records (default: $DNS_SERVERS)")
    .option("--json", "print JSON")
    .action((options: DoctorOptions) => doctor(deps, options));
}

async function doctor(given: CliDeps, options: DoctorOptions): Promise<void> {
  const deps =
    options.dns === undefined
      ? given
      : { ...given, env: { ...given.env, DNS_SERVERS: options.dns.join(",") } };
  const peers = loadConfig(peerConfigSchema, deps.env);
  const conf = await namedConf(deps, options.clamdConf);
  const runDir = deps.settingsFile === undefined ? undefined : dirname(deps.settingsFile);
  const ownConf = runDir === undefined ? undefined : join(runDir, "clamd", "clamd.conf");
  const folders = [runDir, peers.SPOOL_DIR].filter((folder) => folder !== undefined);
  const engines = await Promise.all([
    ...(options.clamd ?? listOf(peers.AV_CLAMD)).map((address) =>
      diagnoseClamd(address, conf, peers, ownConf),
    ),
    ...(options.spamd ?? listOf(peers.SPAM_SPAMD)).map(diagnoseSpamd),
    ...(options.rspamd ?? listOf(peers.SPAM_RSPAMD)).map((address) =>
      diagnoseRspamd(address, peers),
    ),
  ]);
  const system = await diagnoseSystem(deps, folders);
  const diagnoses = [...system, ...engines.flat()];
  if (options.json === true) deps.output.json(diagnoses);
  else deps.output.print(diagnoses.map(diagnosisText).join("\n"));
  if (diagnoses.some(({ ok }) => !ok)) deps.setExitCode(1);
}

function listOf(text: string | undefined): string[] {
  return (text ?? "").split(",").flatMap((entry) => (entry.trim() === "" ? [] : [entry.trim()]));
}

async function namedConf(deps: CliDeps, file: string | undefined): Promise<ClamdConf | undefined> {
  return file === undefined ? undefined : { file, text: String(await deps.readInput(file)) };
}
