import type { Command } from "commander";
import { z } from "zod";
import { creditSchema } from "@rs-agent/shared/bus/wire.ts";
import { engineSchema, taskKindSchema } from "@rs-agent/shared/mail/verdict.ts";
import { formatDuration } from "@rs-agent/shared/policy/duration.ts";
import type { ActorReport } from "@rs-agent/shared/store/actors.ts";
import type { Pause } from "@rs-agent/shared/store/controls.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import type { Conservation, Waiting } from "@rs-agent/shared/store/mails.ts";
import { engineText } from "../explain.ts";
import { withDatabase, type CliDeps } from "../session.ts";
import { age, field, table } from "../terminal.ts";

/** A worker as its dispatchers see it. */
const workerSchema = z.looseObject({
  id: z.string(),
  kind: taskKindSchema,
  mailbox: z.string(),
  state: z.string(),
  unable: z.string().nullish(),
  engine: engineSchema.nullish(),
  grant: creditSchema,
  outstanding: creditSchema,
});
export type SeenWorker = z.output<typeof workerSchema>;

const dispatcherSchema = z.looseObject({
  heldMails: z.number(),
  workers: z.array(workerSchema),
});

export interface Status {
  server: string;
  now: Date;
  waiting: Waiting[];
  services: Omit<ActorReport, "snapshot">[];
  /** Each worker once, with the dispatchers that know it. */
  workers: (SeenWorker & { dispatchers: string[] })[];
  paused: Pause[];
  conservation?: Conservation;
}

export function addStatus(program: Command, deps: CliDeps): void {
  program
    .command("status")
    .description("what waits and for what, services, workers and engines")
    .option("--count", "count the outcomes of all recipients (reads every record)")
    .option("--json", "print JSON")
    .action(async (options: { count?: true; json?: true }) => {
      const status = await withDatabase(deps, ({ database }) =>
        readStatus(database, options.count === true),
      );
      if (options.json === true) deps.output.json(status);
      else deps.output.print(formatStatus(status));
    });
}

/** Reads what `status` and `doctor` show. */
export async function readStatus(database: Database, isCounted = false): Promise<Status> {
  const { mails, actors, controls, clock, server } = database;
  const [waiting, reports, paused] = await Promise.all([
    mails.waiting(),
    actors.all(),
    controls.pauses(),
  ]);
  const conservation = isCounted ? await mails.countOutcomes() : undefined;
  return {
    server,
    now: clock.now(),
    waiting,
    services: reports.map(({ id, service, at }) => ({ id, service, at })),
    workers: workersIn(reports),
    paused,
    ...(conservation !== undefined && { conservation }),
  };
}

function workersIn(reports: readonly ActorReport[]): Status["workers"] {
  const seen = new Map<string, Status["workers"][number]>();
  for (const { id, service, snapshot } of reports) {
    const parsed = dispatcherSchema.safeParse(snapshot);
    if (service !== "dispatcher" || !parsed.success) continue;
    for (const worker of parsed.data.workers) {
      const known = seen.get(worker.id);
      seen.set(worker.id, { ...worker, dispatchers: [...(known?.dispatchers ?? []), id] });
    }
  }
  return [...seen.values()].sort((a, b) => (a.kind + a.id < b.kind + b.id ? -1 : 1));
}

export function formatStatus(status: Status): string {
  const { server, now, waiting, services, workers, paused, conservation } = status;
  return [
    field("database", server),
    waiting.length === 0
      ? "no mail waits"
      : table(
          ["STATE", "WAITS FOR", "MAILS", "OLDEST"],
          waiting.map(({ state, next, count, oldestAt }) => [
            state,
            next === "" ? "a person" : next,
            String(count),
            age(oldestAt, now),
          ]),
        ),
    services.length === 0
      ? "no service has said anything in the last 10 s"
      : table(
          ["SERVICE", "ID", "HEARD"],
          services.map(({ service, id, at }) => [service, id, age(at, now)]),
        ),
    ...(workers.length === 0 ? [] : [workerTable(workers)]),
    ...paused.map(({ step, by, at }) => field("paused", `${step}, by ${by} ${age(at, now)}`)),
    ...starving(status),
    ...(conservation === undefined ? [] : [outcomes(conservation)]),
  ].join("\n\n");
}

function workerTable(workers: Status["workers"]): string {
  return table(
    ["WORKER", "TASK", "STATE", "AT WORK", "ENGINE"],
    workers.map(({ id, kind, state, unable, grant, outstanding, engine }) => [
      id,
      kind,
      unable == null ? state : `unable: ${unable}`,
      `${String(outstanding.tasks)} of ${String(grant.tasks)}`,
      engineText(engine ?? undefined),
    ]),
  );
}

/** Tasks for which mail waits and no worker is able to take it. */
function starving({ waiting, workers, paused, now }: Status): string[] {
  return waiting.flatMap(({ state, next, count, oldestAt }) => {
    const kind = taskKindSchema.safeParse(next);
    if (state !== "processing" || !kind.success) return [];
    const able = workers.some((one) => one.kind === kind.data && one.unable == null);
    if (able || paused.some(({ step }) => step === next)) return [];
    const waited = formatDuration(now.getTime() - oldestAt.getTime());
    return [
      field(
        "attention",
        `${String(count)} mails wait for ${next} (${waited}) and no worker is able`,
      ),
    ];
  });
}

function outcomes({ dsn, holds, ...counts }: Conservation): string {
  const shown = Object.entries(counts).map(([name, count]) => `${name} ${String(count)}`);
  const reports = Object.entries(dsn).map(([name, count]) => `${name} ${String(count)}`);
  return [
    field("recipients", `${shown.join(", ")}: ${holds ? "it adds up" : "IT DOES NOT ADD UP"}`),
    field("reports", reports.join(", ")),
  ].join("\n");
}
