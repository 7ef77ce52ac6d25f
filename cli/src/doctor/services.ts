import { clamavCli, rsAgent } from "../called-as.ts";
import { recordVersion } from "@rs-agent/shared/mail/record.ts";
import { agreedVersion } from "@rs-agent/shared/store/record-version.ts";
import { busKindOf } from "@rs-agent/shared/bus/allow-list.ts";
import { builtInTasks, isBuiltIn, type TaskKind } from "@rs-agent/shared/checks/verdict.ts";
import { engineText } from "../explain.ts";
import { isAble, type SeenSystem } from "../seen-system.ts";
import type { Diagnosis } from "./diagnosis.ts";

/** The services by what they report, and the steps that people have paused. */
export function diagnoseServices(system: SeenSystem): Diagnosis[] {
  return [
    ...services.map((service) => diagnoseService(service, system)),
    ...[...builtInTasks, ...system.ownChecks].map((kind) => diagnoseWorker(kind, system)),
    ...diagnoseHints(system),
    ...diagnoseReleases(system),
    ...system.paused.map(({ step, by }) => ({
      part: step,
      ok: false,
      found: `paused by ${by}`,
      advice: `${rsAgent} resume ${step}`,
    })),
  ];
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
  return { part: name, ok: false, found: "has not reported in the last 10 s", advice };
}

/** A relay that no dispatcher tells of mail is slower, and no less safe (I6). */
function diagnoseHints({ services: running }: SeenSystem): Diagnosis[] {
  const deaf = running.filter(
    ({ service, dispatchers }) => service === "relay" && dispatchers === 0,
  );
  const isDispatched = running.some(({ service }) => service === "dispatcher");
  if (deaf.length === 0 || !isDispatched) return [];
  const found = `${deaf.map(({ id }) => id).join(", ")}: told of mail by no dispatcher, found by the timer RELAY_POLL_MS; set BUS_DISPATCHERS, and on a protected bus give it a key of the kind relay`;
  return [{ part: "relay hints", ok: true, found }];
}

/** Reports services of two releases on one database, or a service newer than this program. */
function diagnoseReleases({ services: running }: SeenSystem): Diagnosis[] {
  const part = "releases";
  const newest = running.find(({ records = 1 }) => records > recordVersion);
  if (newest !== undefined) {
    const found = `${newest.id} reads records of version ${String(newest.records)}, this CLI up to ${String(recordVersion)}`;
    return [{ part, ok: false, found, advice: "use the CLI of that release" }];
  }
  const older = running.filter(({ records = 1 }) => records < recordVersion);
  if (older.length === 0) return [];
  const written = agreedVersion(running, recordVersion);
  const found = `${older.map(({ id }) => id).join(", ")} of an older release: records are written as version ${String(written)}`;
  return [{ part, ok: true, found }];
}

const engineAdvice: Partial<Record<TaskKind, string>> = {
  virus: `; ${clamavCli} --host HOST --port PORT ping asks its clamd`,
  spam: `; ${rsAgent} doctor --spamd HOST:PORT (or --rspamd) asks its engine`,
};

function diagnoseWorker(kind: TaskKind, system: SeenSystem): Diagnosis {
  const { workers: known, services: running } = system;
  const isOurs = kind === "enrich" || isBuiltIn(kind);
  const name = isOurs ? busKindOf(kind) : `check ${kind}`;
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
      advice: `see the log of ${first.id}${engineAdvice[kind] ?? ""}`,
    };
  }
  const isDispatched = running.some(({ service }) => service === "dispatcher");
  const program = isOurs ? `services/${name}/src/main.ts` : `a worker of the kind ${kind}`;
  const means = isOurs ? "" : "; until then the mail whose policy names this check waits";
  const advice = isDispatched
    ? `start ${program} with BUS_DISPATCHERS set to the dispatcher's result socket${means}`
    : "workers are seen through a dispatcher: start that first";
  return { part: name, ok: false, found: "known to no dispatcher", advice };
}
