import { rsAgent } from "../called-as.ts";
import type { Command } from "commander";
import { engineOf, kindOf, laneIn, laneText } from "@rs-agent/shared/mail/lane.ts";
import { adoptStep } from "@rs-agent/shared/mail/stub.ts";
import type { MailState } from "@rs-agent/shared/life/states.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import type { Conservation, Waiting } from "@rs-agent/shared/store/mails.ts";
import { engineText } from "../explain.ts";
import {
  isAble,
  readSystem,
  routeText,
  whyNoWorker,
  type SeenDemand,
  type SeenService,
  type SeenSystem,
  type SeenWorker,
} from "../seen-system.ts";
import { withDatabase, type CliDeps } from "../session.ts";
import { table } from "../table.ts";
import { field } from "../terminal.ts";
import { age, span } from "../times.ts";

export interface Status extends SeenSystem {
  server: string;
  now: Date;
  waiting: Waiting[];
  states?: Record<MailState, number>;
  conservation?: Conservation;
}

interface StatusOptions {
  count?: true;
  recipients?: true;
}

export function addStatus(program: Command, deps: CliDeps): void {
  program
    .command("status")
    .option("--count", "count the mails in each state")
    .option("--recipients", "prove that no recipient is lost (reads every record)")
    .option("--json", "print JSON")
    .action(async (options: StatusOptions & { json?: true }) => {
      const status = await withDatabase(deps, ({ database }) => readStatus(database, options));
      if (options.json === true) deps.output.json(status);
      else deps.output.print(formatStatus(status));
    });
}

/** Reads what `status` shows. */
export async function readStatus(
  database: Database,
  { count, recipients }: StatusOptions = {},
): Promise<Status> {
  const { mails, clock, server } = database;
  const [waiting, system] = await Promise.all([mails.waiting(), readSystem(database)]);
  const states = count === true ? await mails.countStates() : undefined;
  const conservation = recipients === true ? await mails.countOutcomes() : undefined;
  return {
    server,
    now: clock.now(),
    waiting,
    ...system,
    ...(states !== undefined && { states }),
    ...(conservation !== undefined && { conservation }),
  };
}

export function formatStatus(status: Status): string {
  const { server, now, waiting, services, workers, demand, states, conservation } = status;
  const attention = attentionLines(status);
  return [
    field("database", server),
    waiting.length === 0 ? "no mail waits" : waitingTable(waiting, now),
    services.length === 0
      ? "no service has reported in the last 10 s"
      : serviceTable(services, now),
    ...(workers.length === 0 ? [] : [workerTable(workers)]),
    ...(demand.length === 0 ? [] : [demandTable(demand)]),
    ...(attention.length === 0 ? [] : [attention.join("\n")]),
    ...(states === undefined ? [] : [field("mails", countsText(states))]),
    ...(conservation === undefined ? [] : [outcomes(conservation)]),
  ].join("\n\n");
}

function waitingTable(waiting: readonly Waiting[], now: Date): string {
  return table(
    ["STATE", "WAITS FOR", "MAILS", "OLDEST"],
    waiting.map(({ state, next, count, oldestAt }) => [
      state,
      waitsFor(next),
      String(count),
      age(oldestAt, now),
    ]),
  );
}

function waitsFor(next: string): string {
  if (next === "") return "a person";
  const lane = laneIn(next);
  if (lane !== undefined) return laneText(lane);
  if (next === adoptStep) return "its record to be read";
  return next === "retry" ? "its time" : routeText(next);
}

function serviceTable(services: readonly SeenService[], now: Date): string {
  return table(
    ["SERVICE", "ID", "HEARD", "IN HAND"],
    services.map(({ service, id, at, inHand }) => [
      service,
      id,
      age(at, now),
      inHand === undefined ? "" : mailsText(inHand),
    ]),
  );
}

function workerTable(workers: readonly SeenWorker[]): string {
  return table(
    ["WORKER", "TASK", "STATE", "AT WORK", "ENGINE"],
    workers.map((worker) => {
      const { id, kind, state, unable, grant, outstanding, engine } = worker;
      const atWork = String(outstanding.tasks);
      return [
        id,
        kind,
        unable == null ? state : "unable",
        isAble(worker) ? `${atWork} of ${String(grant.tasks)}` : atWork,
        engineText(engine ?? undefined),
      ];
    }),
  );
}

/** Workers wanted, next to those that are there. */
function demandTable(demand: readonly SeenDemand[]): string {
  return table(
    ["TASK", "WORKERS", "WANTED", "WAITING", "ARRIVING", "SERVICE TIME", "AT ONCE"],
    demand.map(({ kind, there, able, wanted, waiting, arrivalsPerSecond, serviceMs, atOnce }) => [
      kind,
      able === there ? String(there) : `${String(able)} of ${String(there)}`,
      String(wanted),
      mailsText(waiting),
      `${arrivalsPerSecond.toFixed(1)}/s`,
      serviceMs == null ? "" : span(serviceMs),
      atOnce == null ? "" : String(atOnce),
    ]),
  );
}

/** What a person should know or act on, uncut. */
function attentionLines(status: Status): string[] {
  const { waiting, workers, routes, overloads, paused, now } = status;
  return [
    ...paused.map(({ step, by, at }) =>
      field("paused", `${step}, by ${by} ${age(at, now)}; to go on: ${rsAgent} resume ${step}`),
    ),
    ...overloads.map(({ ingest, since, waiting: count, oldestMs }) =>
      field(
        "attention",
        `${ingest} has put new mail off (452) for ${span(now.getTime() - since.getTime())}: ${mailsText(count)} not yet checked, the oldest untaken for ${span(oldestMs)}`,
      ),
    ),
    ...waiting.flatMap((group) => starving(group, status)),
    ...workers.flatMap(({ id, unable }) =>
      unable == null ? [] : [field("attention", `${id} is unable: ${unable}`)],
    ),
    ...routes.flatMap(({ route, relay, failure }) =>
      failure == null
        ? []
        : [field("attention", `${relay} cannot send to ${routeText(route)}: ${failure}`)],
    ),
  ];
}

/** Mail that waits for a task that no worker is able to do. */
function starving({ state, next, count, oldestAt }: Waiting, status: Status): string[] {
  const lane = laneIn(next);
  if (state !== "processing" || lane === undefined) return [];
  const why = whyNoWorker(lane, status);
  if (why === undefined || status.paused.some(({ step }) => step === kindOf(lane))) return [];
  const waited = span(status.now.getTime() - oldestAt.getTime());
  const who = `${mailsText(count)} ${count === 1 ? "waits" : "wait"} for ${laneText(lane)}`;
  const whose = engineOf(lane) === undefined ? "no worker is able" : `no worker is able: ${why}`;
  return [field("attention", `${who} (${waited}) and ${whose}`)];
}

function mailsText(count: number): string {
  return `${String(count)} ${count === 1 ? "mail" : "mails"}`;
}

function outcomes({ dsn, holds, ...counts }: Conservation): string {
  return [
    field("recipients", `${countsText(counts)}: ${holds ? "it adds up" : "IT DOES NOT ADD UP"}`),
    field("reports", countsText(dsn)),
  ].join("\n");
}

function countsText(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts)
    .map(([name, count]) => `${name} ${String(count)}`)
    .join(", ");
}
