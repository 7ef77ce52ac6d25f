import { clamavCli, rsAgent } from "../called-as.ts";
import type { Command } from "commander";
import { createCanaryCheck } from "@rs-agent/av-worker/canaries.ts";
import { parseClamdAddress, type ClamdAddress } from "@rs-agent/av-worker/clamd/address.ts";
import * as clamd from "@rs-agent/av-worker/clamd/command.ts";
import type { SpamEngineClient } from "@rs-agent/spam-worker/engine-client.ts";
import { createRspamdEngine } from "@rs-agent/spam-worker/rspamd/engine.ts";
import { createSpamdEngine } from "@rs-agent/spam-worker/spamd/engine.ts";
import { systemClock } from "@rs-agent/shared/clock.ts";
import { loadConfig } from "@rs-agent/shared/config.ts";
import { messageOf, RsError } from "@rs-agent/shared/errors.ts";
import { createPolicyBook } from "@rs-agent/shared/policy/effective.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import { clamdConfOf, type ClamdConf } from "../clamd-conf.ts";
import { diagnoseLimits } from "../clamd-limits.ts";
import { diagnoseReload, readReloadFacts } from "../clamd-reload.ts";
import { peerConfigSchema, type PeerConfig } from "../peer-config.ts";
import { engineText } from "../explain.ts";
import { isAble, readSystem, routeText, type SeenSystem } from "../seen-system.ts";
import { withDatabase, type CliDeps } from "../session.ts";
import { counted, field } from "../terminal.ts";

/** One dependency: reached or not, and what to do. */
export interface Diagnosis {
  part: string;
  ok: boolean;
  /** It works, and may cost something some day. */
  warning?: true;
  /** What was found. */
  found: string;
  /** What to do, where it is not well. */
  advice?: string;
}

const engineTimeoutMs = 5_000;
/** An engine has a few mails to check, and others before them. */
const canaryLimits = {
  timeoutMs: 15_000,
  connectTimeoutMs: engineTimeoutMs,
  maxReplyBytes: 100_000,
};

export function addDoctor(program: Command, deps: CliDeps): void {
  program
    .command("doctor")
    .option("--clamd <address...>", "host:port or socket path (default: $AV_CLAMD)")
    .option("--clamd-conf <file>", "the clamd.conf of a single clamd, where it is not found")
    .option("--spamd <address...>", "host:port or socket path (default: $SPAM_SPAMD)")
    .option("--rspamd <address...>", "host:port or socket path (default: $SPAM_RSPAMD)")
    .option("--json", "print JSON")
    .action(async (options: DoctorOptions) => {
      const peers = loadConfig(peerConfigSchema, deps.env);
      const conf = await namedConf(deps, options.clamdConf);
      const engines = await Promise.all([
        ...(options.clamd ?? listOf(peers.AV_CLAMD)).map((address) =>
          diagnoseClamd(address, conf, peers),
        ),
        ...(options.spamd ?? listOf(peers.SPAM_SPAMD)).map(diagnoseSpamd),
        ...(options.rspamd ?? listOf(peers.SPAM_RSPAMD)).map((address) =>
          diagnoseRspamd(address, peers),
        ),
      ]);
      const diagnoses = [...(await diagnoseSystem(deps)), ...engines.flat()];
      if (options.json === true) deps.output.json(diagnoses);
      else deps.output.print(diagnoses.map(line).join("\n"));
      if (diagnoses.some(({ ok }) => !ok)) deps.setExitCode(1);
    });
}

interface DoctorOptions {
  clamd?: string[];
  clamdConf?: string;
  spamd?: string[];
  rspamd?: string[];
  json?: true;
}

function listOf(text: string | undefined): string[] {
  return (text ?? "").split(",").flatMap((entry) => (entry.trim() === "" ? [] : [entry.trim()]));
}

function line({ part, ok, warning, found, advice }: Diagnosis): string {
  const text = `${!ok ? "NOT WELL" : warning ? "WARNING" : "ok"}: ${found}`;
  return [
    field(part, text, 16),
    ...(advice === undefined ? [] : [field("", `→ ${advice}`, 16)]),
  ].join("\n");
}

async function diagnoseSystem(deps: CliDeps): Promise<Diagnosis[]> {
  try {
    return await withDatabase(deps, async ({ database }) => {
      await database.ping();
      const system = await readSystem(database);
      return [
        { part: "database", ok: true, found: database.server },
        await diagnosePolicy(database),
        ...services.map((service) => diagnoseService(service, system)),
        ...workers.map((worker) => diagnoseWorker(worker, system)),
        ...diagnoseRoutes(system),
        ...system.paused.map(({ step, by }) => ({
          part: step,
          ok: false,
          found: `paused by ${by}`,
          advice: `${rsAgent} resume ${step}`,
        })),
      ];
    });
  } catch (error) {
    const isSet = !(error instanceof RsError && error.code === "CFG_INVALID");
    const advice = isSet
      ? "is mongod running, is MONGODB_URI right, and is it a replica set? Mail is not lost: ingest " +
        "answers 451 and senders try again"
      : "set MONGODB_URI as the services have it; a running npm start is found in its own folder only";
    return [{ part: "database", ok: false, found: messageOf(error), advice }];
  }
}

async function diagnosePolicy({ policies }: Pick<Database, "policies">): Promise<Diagnosis> {
  try {
    const documents = await policies.all();
    const { revision } = createPolicyBook(documents);
    const tenants = documents.filter(({ scope }) => scope === "tenant").length;
    const found = `${counted(documents.length, "document")}, revision ${String(revision)}`;
    if (tenants > 0) return { part: "policy", ok: true, found };
    const advice = `no tenant has a domain, so all incoming mail is refused: ${rsAgent} policy apply FILE`;
    return { part: "policy", ok: false, found, advice };
  } catch (error) {
    const advice = "services keep the last policy that was right; apply a right one";
    return { part: "policy", ok: false, found: messageOf(error), advice };
  }
}

const services = [
  { name: "ingest", means: "no mail is taken in by SMTP" },
  { name: "dispatcher", means: "nothing is checked; mail waits" },
  { name: "relay", means: "nothing is sent; mail waits" },
] as const;

function diagnoseService(
  { name, means }: (typeof services)[number],
  { services: running }: SeenSystem,
): Diagnosis {
  const ids = running.filter(({ service }) => service === name).map(({ id }) => id);
  if (ids.length > 0) return { part: name, ok: true, found: ids.join(", ") };
  const advice = `start services/${name}/src/main.ts with this MONGODB_URI and MONGODB_DB; until then ${means}`;
  return { part: name, ok: false, found: "not heard of in the last 10 s", advice };
}

function diagnoseRoutes({ routes }: SeenSystem): Diagnosis[] {
  return routes.flatMap(({ route, relay, failure }) => {
    if (failure == null) return [];
    const hop = routeText(route);
    const advice = `is the server at ${hop} up, and does it take mail from here? Mail waits until then`;
    return [{ part: "next hop", ok: false, found: `${relay} to ${hop}: ${failure}`, advice }];
  });
}

const engineAdvice = {
  virus: `; ${clamavCli} --host HOST --port PORT ping asks its clamd`,
  spam: `; ${rsAgent} doctor --spamd HOST:PORT (or --rspamd) asks its engine`,
  enrich: "",
} as const;

const workers = [
  { name: "av-worker", kind: "virus" },
  { name: "spam-worker", kind: "spam" },
  { name: "enricher", kind: "enrich" },
] as const;

function diagnoseWorker(
  { name, kind }: (typeof workers)[number],
  { workers: known, services: running }: SeenSystem,
): Diagnosis {
  const own = known.filter((worker) => worker.kind === kind);
  const able = own.filter(isAble);
  if (able.length > 0) {
    const found = able.map(({ id, engine }) => `${id} (${engineText(engine ?? undefined)})`);
    return { part: name, ok: true, found: found.join(", ") };
  }
  const [first] = own;
  if (first !== undefined) {
    const found = `${first.id}: ${first.unable ?? first.state}`;
    return {
      part: name,
      ok: false,
      found,
      advice: `see the log of ${first.id}${engineAdvice[kind]}`,
    };
  }
  const isDispatched = running.some(({ service }) => service === "dispatcher");
  const advice = isDispatched
    ? `start services/${name}/src/main.ts with BUS_DISPATCHERS set to the dispatcher's result socket`
    : "workers are seen through a dispatcher: start that first";
  return { part: name, ok: false, found: "known to no dispatcher", advice };
}

async function namedConf(deps: CliDeps, file: string | undefined): Promise<ClamdConf | undefined> {
  return file === undefined ? undefined : { file, text: String(await deps.readInput(file)) };
}

async function diagnoseClamd(
  text: string,
  named: ClamdConf | undefined,
  peers: PeerConfig,
): Promise<Diagnosis[]> {
  const part = "clamd";
  const address = parseClamdAddress(text);
  if (address === undefined) {
    const advice = "give host:port or /path";
    return [{ part, ok: false, found: `${text} is no address`, advice }];
  }
  const signal = AbortSignal.timeout(engineTimeoutMs);
  try {
    const [version = ""] = await clamd.ask(address, "VERSION", { signal });
    const conf = named ?? (await clamdConfOf(address));
    const facts = await readReloadFacts(address, signal, conf);
    return [
      { part, ok: true, found: `${text}: ${version}` },
      await diagnoseCanaries(address, peers),
      diagnoseLimits(conf),
      diagnoseReload(facts),
    ];
  } catch (error) {
    const advice =
      "start clamd (systemctl start clamav-daemon), or set AV_CLAMD; mail waits until then";
    return [{ part, ok: false, found: messageOf(error), advice }];
  }
}

/** What an av-worker asks before it takes work. */
async function diagnoseCanaries(
  address: ClamdAddress,
  { AV_ALLOW_BLIND: allowBlind }: PeerConfig,
): Promise<Diagnosis> {
  const part = "clamd canaries";
  const check = createCanaryCheck({ allowBlind, now: () => systemClock.now() });
  const state = await check(address, AbortSignal.timeout(canaryLimits.timeoutMs));
  if (state.kind === "able") {
    const blind = state.blind.length === 0 ? "" : `; AV_ALLOW_BLIND: ${state.blind.join(", ")}`;
    return { part, ok: true, found: `finds EICAR, says where it cannot look${blind}` };
  }
  const advice = "put that right and restart clamd; no worker takes mail with it until then";
  return { part, ok: false, found: state.reason, advice };
}

function diagnoseSpamd(address: string): Promise<Diagnosis> {
  const advice = "start spamd (systemctl start spamd), or set SPAM_SPAMD; mail waits until then";
  return diagnoseSpamEngine("spamd", advice, () =>
    createSpamdEngine({ address, clock: systemClock, ...canaryLimits }),
  );
}

function diagnoseRspamd(address: string, config: PeerConfig): Promise<Diagnosis> {
  const advice = "start rspamd (systemctl start rspamd), or set SPAM_RSPAMD; mail waits until then";
  const known = {
    requiredPoints: config.SPAM_RSPAMD_REQUIRED,
    taskTimeoutMs: config.SPAM_RSPAMD_TASK_TIMEOUT_MS,
  };
  return diagnoseSpamEngine("rspamd", advice, () =>
    createRspamdEngine({ address, clock: systemClock, ...known, ...canaryLimits }),
  );
}

/** Asks it what a spam-worker asks before it takes work. */
async function diagnoseSpamEngine(
  part: string,
  advice: string,
  connect: () => SpamEngineClient,
): Promise<Diagnosis> {
  try {
    const engine = connect();
    const { timeoutMs } = canaryLimits;
    const asked = { signal: AbortSignal.timeout(2 * timeoutMs), timeoutMs };
    const outcome = await engine.putCanariesThrough(asked).finally(() => engine.close());
    if (outcome.kind === "unable") return { part, ok: false, found: outcome.reason, advice };
    const found = `${engine.address}: ${engineText(outcome.engine)}; GTUBE is spam to it, a clean mail ham`;
    return { part, ok: true, found };
  } catch (error) {
    return { part, ok: false, found: messageOf(error), advice };
  }
}
