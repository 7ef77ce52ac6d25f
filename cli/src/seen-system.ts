import {
  demandStatusSchema,
  dispatcherStatusSchema,
  overloadStatusSchema,
  relayStatusSchema,
  type KindDemandStatus,
  type OverloadStatus,
  type RouteStatus,
  type WorkerStatus,
} from "@rs-agent/shared/bus/actor-status.ts";
import type { OwnCheck } from "@rs-agent/shared/checks/own-check.ts";
import { ownChecksOf } from "@rs-agent/shared/policy/policy-index.ts";
import { builtInTasks, type TaskKind } from "@rs-agent/shared/checks/verdict.ts";
import { kindOf, serves, type Lane } from "@rs-agent/shared/mail/lane.ts";
import type { ActorReport } from "@rs-agent/shared/store/actors.ts";
import type { Pause } from "@rs-agent/shared/store/controls.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";

/** A worker as its dispatchers see it. */
export type SeenWorker = WorkerStatus & {
  /** Each worker appears once, with the dispatchers that know it. */
  dispatchers: string[];
};
export type SeenRoute = RouteStatus & { relay: string };
export type SeenDemand = KindDemandStatus & {
  kind: TaskKind;
  /** When it was counted. */
  at: Date;
  /** Workers that a dispatcher knows, and those of them that can work. */
  there: number;
  able: number;
};
export type SeenOverload = OverloadStatus & { ingest: string };

export interface SeenService {
  id: string;
  service: string;
  /** When it was last heard of. */
  at: Date;
  /** The newest version of records that it reads; undefined if its release does not say. */
  records?: number;
  /** Mails that it is working on; undefined if it does not say. */
  inHand?: number;
  /** Mails that the change stream did not report to it in time, since its start. */
  timerOnlyMails?: number;
  /** Dispatchers that tell this relay what waits. */
  dispatchers?: number;
}

/** What the services say about themselves, and what people have paused. */
export interface SeenSystem {
  services: SeenService[];
  workers: SeenWorker[];
  /** For each kind of task: what there is to do, and how many workers that needs. */
  demand: SeenDemand[];
  /** Next hops to which relays have something to send. */
  routes: SeenRoute[];
  /** Ingests that answer 452 for now. */
  overloads: SeenOverload[];
  paused: Pause[];
  /** The own checks that policies have on. */
  ownChecks: OwnCheck[];
}

export async function readSystem({
  actors,
  controls,
  policies,
}: Pick<Database, "actors" | "controls" | "policies">): Promise<SeenSystem> {
  const [reports, paused, documents] = await Promise.all([
    actors.all(),
    controls.pauses(),
    policies.all(),
  ]);
  const sorted = reports.sort((a, b) => compare(a.service + a.id, b.service + b.id));
  const workers = workersIn(sorted);
  return {
    services: sorted.map(serviceIn),
    workers,
    demand: demandIn(sorted, workers),
    routes: sorted.flatMap(routesIn),
    overloads: sorted.flatMap(overloadsIn),
    paused,
    ownChecks: ownChecksOf(documents),
  };
}

function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

function serviceIn(report: ActorReport): SeenService {
  const { id, service, at, records, snapshot } = report;
  const seen = { id, service, at, ...(records !== undefined && { records }) };
  const dispatcher = dispatcherStatusSchema.safeParse(snapshot);
  if (service === "dispatcher" && dispatcher.success) {
    const { heldMails: inHand, timerOnlyMails } = dispatcher.data;
    return { ...seen, inHand, ...(timerOnlyMails !== undefined && { timerOnlyMails }) };
  }
  if (service !== "relay") return seen;
  const inHand = routesIn(report).reduce((sum, { heldMails }) => sum + heldMails, 0);
  const dispatchers = relayStatusSchema.safeParse(snapshot).data?.dispatchers;
  return { ...seen, inHand, ...(dispatchers !== undefined && { dispatchers }) };
}

function workersIn(reports: readonly ActorReport[]): SeenWorker[] {
  const seen = new Map<string, SeenWorker>();
  for (const { id, service, snapshot } of reports) {
    const parsed = dispatcherStatusSchema.safeParse(snapshot);
    if (service !== "dispatcher" || !parsed.success) continue;
    for (const worker of parsed.data.workers) {
      const known = seen.get(worker.id);
      seen.set(worker.id, { ...worker, dispatchers: [...(known?.dispatchers ?? []), id] });
    }
  }
  return [...seen.values()].sort((a, b) => compare(a.kind + a.id, b.kind + b.id));
}

/** Each dispatcher adds up all of them, so the newest sum counts. */
function demandIn(reports: readonly ActorReport[], workers: readonly SeenWorker[]): SeenDemand[] {
  const seen = reports.flatMap(({ service, snapshot }) => {
    const parsed = demandStatusSchema.safeParse(snapshot["demand"]);
    return service === "dispatcher" && parsed.success ? [parsed.data] : [];
  });
  const [newest] = seen.sort((a, b) => b.at.getTime() - a.at.getTime());
  const kinds = new Set([...builtInTasks, ...(Object.keys(newest?.kinds ?? {}) as TaskKind[])]);
  return [...kinds].flatMap((kind) => {
    const demand = newest?.kinds[kind];
    const own = workers.filter((worker) => worker.kind === kind);
    if (newest === undefined || demand === undefined) return [];
    return [{ kind, at: newest.at, there: own.length, able: own.filter(isAble).length, ...demand }];
  });
}

function routesIn({ id, service, snapshot }: ActorReport): SeenRoute[] {
  const parsed = relayStatusSchema.safeParse(snapshot);
  if (service !== "relay" || !parsed.success) return [];
  return parsed.data.routes.map((route) => ({ ...route, relay: id }));
}

function overloadsIn({ id, service, snapshot }: ActorReport): SeenOverload[] {
  const parsed = overloadStatusSchema.safeParse(snapshot["overload"]);
  if (service !== "ingest" || !parsed.success) return [];
  return [{ ...parsed.data, ingest: id }];
}

/** Whether it takes tasks, or would if it were not busy. */
export function isAble({ unable, state }: SeenWorker): boolean {
  return unable == null && state === "open";
}

/** Why no worker takes tasks of this kind, or those for one engine; undefined if one does. */
export function whyNoWorker(lane: Lane, { workers }: SeenSystem): string | undefined {
  const ofKind = workers.filter((worker) => worker.kind === kindOf(lane));
  // A worker that has not been able yet has not said which engine it has.
  const own = ofKind.filter((worker) => serves(worker, lane) || worker.engine == null);
  if (own.some((worker) => serves(worker, lane) && isAble(worker))) return undefined;
  if (own.length > 0)
    return own.map(({ id, unable, state }) => `${id}: ${unable ?? state}`).join("; ");
  if (ofKind.length === 0) return "none is known to a dispatcher";
  const others = ofKind.map(({ id, engine }) => `${id} has ${engine?.name ?? "none"}`);
  return `none is known to a dispatcher; ${others.join(", ")}`;
}

/** `host:port` from a route's key, with the source address if it has one. */
export function routeText(key: string): string {
  const [hop = key, source = ""] = key.split("|");
  return source === "" ? hop : `${hop} from ${source}`;
}
