import { existsSync, mkdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { systemClock } from "@rs-agent/shared/clock.ts";
import { RetryableError, TerminalError } from "@rs-agent/shared/errors.ts";
import { exit, exitWithError } from "@rs-agent/shared/lifecycle.ts";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import { openDatabase, type Database } from "@rs-agent/shared/store/database.ts";
import { parseNextHop } from "@rs-agent/shared/policy/next-hop.ts";
import { samples } from "../samples/samples.ts";
import {
  hasBannerOfNpm,
  loadStartConfig,
  runDirOf,
  usualRunDir,
  type StartConfig,
} from "./config.ts";
import { isFree } from "@rs-agent/kit/free-port.ts";
import { takeOver, type ProcessFile } from "@rs-agent/kit/processes/leftovers.ts";
import { nextSteps, outgoingNetworks, type Surroundings } from "./next-steps.ts";
import { parseStartOptions, usage, type StartOptions } from "./options.ts";
import { createProgress, type Progress } from "./progress.ts";
import { isAsExpected, resultOf, type StartResult } from "./result.ts";
import { applySamplePolicy } from "./sample-policy.ts";
import { awaitFates, sendSamples } from "./sample-run.ts";
import { leaveSettings } from "./settings-file.ts";
import { interrupted, stopSignal } from "@rs-agent/kit/processes/stop-signal.ts";
import {
  needs,
  provideSystemPackages,
  thisHost,
  type Need,
} from "@rs-agent/kit/system-packages.ts";
import { startSystem, type RunningSystem } from "@rs-agent/kit/system/system.ts";
import { conservationLine, fateTable } from "./table.ts";

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

const usualPort = 2525;

const bannerNote =
  "npm has written lines of its own to standard output: npm start --silent -- --json has the document alone.";

interface Context {
  options: StartOptions;
  config: StartConfig;
  runDir: string;
  progress: Progress;
  /** Aborts at the first Ctrl-C. */
  signal: AbortSignal;
}

await main().catch(exitWithError);

async function main(): Promise<void> {
  const options = parseStartOptions(process.argv.slice(2));
  if (options.help) {
    process.stdout.write(usage);
    return;
  }
  // Nobody reads any more, or the terminal is gone: what runs must still be stopped in order.
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => undefined);
  const config = loadStartConfig(process.env);
  const progress = createProgress();
  const runDir = runDirOf(config, root);
  const processes = openRunDir(runDir);
  // Whatever ends this process, even a bug, the others end with it. After a drain none is left.
  process.once("exit", () => processes.endAll());
  const signal = stopSignal(() => progress.note("Stopping. Ctrl-C again stops without draining."));
  const context: Context = { options, config, runDir, progress, signal };
  try {
    exit(await run(context));
  } catch (error) {
    if (!signal.aborted) throw isOfFile(error) ? unusable(runDir, error) : error;
    progress.note("Stopped; nothing is left running.");
    exit(interrupted);
  } finally {
    progress.stop();
  }
}

/** @throws TerminalError SETUP_FAILED if it cannot be used, or another start uses it */
function openRunDir(runDir: string): ProcessFile {
  try {
    mkdirSync(runDir, { recursive: true });
    return takeOver(join(runDir, "processes"));
  } catch (error) {
    throw isOfFile(error) ? unusable(runDir, error) : error;
  }
}

/** A file or folder cannot be made or written, which is not our fault. */
function isOfFile(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && "syscall" in error && "path" in error;
}

function unusable(runDir: string, error: Error): TerminalError {
  const text = `${error.message}; all data go to ${runDir}, RS_AGENT_RUN_DIR names another folder`;
  return new TerminalError("SETUP_FAILED", text, { cause: error });
}

/** Returns the exit code: 0 if everything was as it should be. */
async function run(context: Context): Promise<number> {
  const { options, config, runDir, progress, signal } = context;
  const store: { database: Database | undefined; hasOtherPolicy: boolean } = {
    database: await openOwnDatabase(config, progress),
    hasOtherPolicy: false,
  };
  const smtp = await smtpAddress(config);
  if (options.json && !process.stdout.isTTY && hasBannerOfNpm(process.env))
    progress.note(bannerNote);
  const isEmpty = config.MONGODB_URI === undefined && !existsSync(join(runDir, "mongodb"));
  await provideSystemPackages(
    packagesFor(config),
    thisHost(config.PATH, {
      report: reportAs(progress, "apt"),
      note: (text) => progress.note(text),
    }),
  );
  progress.done("apt");
  if (!options.keep) freshStart(runDir);
  const system = await startSystem({
    runDir,
    ...serversOf(config),
    smtp,
    env: { INGEST_REVERSE_LOOKUP: config.INGEST_REVERSE_LOOKUP },
    report: (part, text) => (text === undefined ? progress.done(part) : progress.say(part, text)),
    onTrouble: (text) => progress.note(text),
    signal,
    prepare: async ({ uri, db }) => {
      store.database ??= await openDatabaseAt(uri, db);
      if (options.keep) return;
      const key = join(runDir, "keys", "northwind.example.pem");
      const applied = await applySamplePolicy(store.database.policies, key);
      store.hasOtherPolicy = applied === "other-policies";
    },
  });
  let result: StartResult | undefined;
  try {
    if (store.database === undefined) throw new Error("the system started without its database");
    leaveSettings(system, runDir);
    if (options.keep || store.hasOtherPolicy) sayWhyNoSamples(context, isEmpty);
    else result = await showSamples(context, system, store.database);
    progress.stop();
    if (!options.exit && !signal.aborted) {
      const around = surroundings(context, system, result);
      const outgoing = outgoingNetworks(await store.database.policies.all());
      process.stderr.write(`\n${nextSteps(system, { ...around, outgoing })}\n`);
      await new Promise((done) => signal.addEventListener("abort", done, { once: true }));
    }
  } finally {
    await store.database?.close();
    await system.stop();
  }
  if (!options.exit) progress.note(lastWords(config));
  return options.exit && result !== undefined && !isAsExpected(result) ? 1 : 0;
}

/** Asks the user's own database before anything else: if it is wrong, that shows quickly. */
async function openOwnDatabase(
  { MONGODB_URI: uri, MONGODB_DB: db }: StartConfig,
  progress: Progress,
): Promise<Database | undefined> {
  if (uri === undefined) return undefined;
  progress.say("mongodb", "looking for the database of MONGODB_URI");
  try {
    return await openDatabaseAt(uri, db);
  } catch (error) {
    if (!(error instanceof RetryableError)) throw error;
    const text = `the database of MONGODB_URI: ${error.message}`;
    throw new RetryableError(error.code, text, { cause: error });
  } finally {
    progress.done("mongodb");
  }
}

function openDatabaseAt(uri: string, db: string): Promise<Database> {
  return openDatabase({ uri, db, clock: systemClock, log: createSilentLogger() });
}

async function showSamples(
  { options, config, progress, signal }: Context,
  system: RunningSystem,
  { mails }: Database,
): Promise<StartResult> {
  progress.say("samples", "sending the sample mails");
  const sent = await sendSamples(samples(), system.smtp);
  const fates = await awaitFates(sent, mails, { signal, report: reportAs(progress, "samples") });
  progress.done("samples");
  progress.stop();
  const result = resultOf(fates, await mails.countOutcomes());
  if (options.json) process.stdout.write(`${JSON.stringify(result, undefined, 2)}\n`);
  const output = options.json ? process.stderr : process.stdout;
  const colour = output.isTTY && output.hasColors() && config.NO_COLOR === undefined;
  output.write(`\n${fateTable(fates, result, colour)}\n\n${conservationLine(result)}\n`);
  return result;
}

function sayWhyNoSamples({ options, progress, config, runDir }: Context, isEmpty: boolean): void {
  if (options.keep && isEmpty) {
    progress.note(
      `--keep: there is no data from an earlier start in ${runDir}. The system starts empty: no policy, so that ` +
        "no mail is accepted, and no sample mails. npm start without --keep brings both.",
    );
    return;
  }
  if (options.keep) {
    progress.note("Going on with the data of the last start; no sample mails are sent.");
    return;
  }
  const why = `the database ${config.MONGODB_DB} has its own policies: no sample mails are sent`;
  if (options.exit) throw new TerminalError("SETUP_FAILED", why);
  progress.note(why);
}

function surroundings(
  { config, runDir }: Context,
  { smtp }: RunningSystem,
  result: StartResult | undefined,
): Omit<Surroundings, "outgoing"> {
  const kept = result?.mails.find(({ recipients }) =>
    recipients.some(({ outcome }) => outcome === "quarantined"),
  );
  return {
    root,
    runDir,
    isOwnRunDir: runDir !== usualRunDir(root),
    isOtherPort: config.RS_AGENT_SMTP === undefined && !smtp.endsWith(`:${usualPort}`),
    hasTestSignatures: config.AV_CLAMD === undefined,
    mailId: kept?.id,
  };
}

function packagesFor(config: StartConfig): Need[] {
  return [
    ...(config.AV_CLAMD === undefined ? [needs.clamd] : []),
    ...(hasOwnSpamEngine(config) ? [] : [needs[config.SPAM_ENGINE]]),
  ];
}

function hasOwnSpamEngine(config: StartConfig): boolean {
  const { SPAM_ENGINE: engine, SPAM_SPAMD: spamd, SPAM_RSPAMD: rspamd } = config;
  return (engine === "spamd" ? spamd : rspamd) !== undefined;
}

function serversOf(config: StartConfig) {
  const { MONGODB_URI: mongodb, AV_CLAMD: clamd, SPAM_SPAMD: spamd } = config;
  const { SPAM_ENGINE: spamEngine, SPAM_RSPAMD: rspamd } = config;
  const { RELAY_NEXT_HOP: nextHop, MONGODB_DB: db } = config;
  return {
    db,
    spamEngine,
    ...(mongodb === undefined ? {} : { mongodb }),
    ...(clamd === undefined ? {} : { clamd }),
    ...(spamd === undefined ? {} : { spamd }),
    ...(rspamd === undefined ? {} : { rspamd }),
    ...(nextHop === undefined ? {} : { nextHop }),
  };
}

function lastWords({ MONGODB_URI: uri }: StartConfig): string {
  const words = "Drained and stopped.";
  return uri === undefined ? `${words} npm start -- --keep goes on with its data.` : words;
}

/** Removes data and logs of the last start; a MongoDB of the user's own is not touched. */
function freshStart(runDir: string): void {
  for (const name of ["mongodb", "maildir", "logs", "clamd", "spamd", "rspamd"]) {
    rmSync(join(runDir, name), { recursive: true, force: true });
  }
}

/** @throws TerminalError SETUP_FAILED if nothing can listen at the address that was given */
async function smtpAddress({ RS_AGENT_SMTP: given }: StartConfig): Promise<string> {
  if (given === undefined) return `127.0.0.1:${(await isFree(usualPort)) ? usualPort : 0}`;
  const { host, port } = parseNextHop(given) ?? { host: "127.0.0.1", port: 0 };
  if (await isFree(port, host)) return given;
  const why = "it is taken, or not an address of this host";
  throw new TerminalError("SETUP_FAILED", `RS_AGENT_SMTP: cannot listen at ${given}: ${why}`);
}

function reportAs(progress: Progress, name: string): (text: string) => void {
  return (text) => progress.say(name, text);
}
