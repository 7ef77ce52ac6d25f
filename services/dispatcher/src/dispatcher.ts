import type { DispatcherReport } from "@rs-agent/shared/bus/actor-status.ts";
import { openBusProtection } from "@rs-agent/shared/bus/protection.ts";
import { startWorkerPool } from "@rs-agent/shared/bus/worker-pool.ts";
import type { OwnCheck } from "@rs-agent/shared/checks/own-check.ts";
import type { Clock } from "@rs-agent/shared/clock.ts";
import { Metrics } from "@rs-agent/shared/health/metrics.ts";
import type { ServiceHandle } from "@rs-agent/shared/lifecycle.ts";
import type { Logger } from "@rs-agent/shared/logger.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import { openPolicies, type PoliciesInForce } from "@rs-agent/shared/store/policies-in-force.ts";
import { createTimerCatches } from "@rs-agent/shared/store/timer-catches.ts";
import { Activity } from "./activity.ts";
import { startAdoption } from "./adoption.ts";
import type { DispatcherConfig } from "./config.ts";
import { Desk } from "./desk.ts";
import { createIntake, type Intake } from "./intake.ts";
import { LoadMeter } from "./load-meter.ts";
import { createObservation } from "./observation.ts";
import { reportMs } from "@rs-agent/shared/store/actors.ts";
import { createSources } from "./sources.ts";
import { openSpool } from "./spool.ts";
import type { DispatcherStatus } from "./status.ts";
import { TaskKinds } from "./task-kinds.ts";
import { startTimers } from "./timers.ts";

export interface DispatcherDeps {
  config: DispatcherConfig;
  database: Database;
  clock: Clock;
  log: Logger;
  metrics?: Metrics;
}

export interface Dispatcher extends ServiceHandle {
  /** The result socket's address, which workers are told. */
  readonly endpoint: string;
}

/**
 * Starts the dispatcher: claims waiting mail by lease, asks workers for what its policy demands, and
 * writes what follows from their answers. It owns the bus and the database that it is given.
 *
 * Guards: I1 (every claimed mail is finished, given back, or left to its lease's end), I2 (`ready`
 * only by `nextStep`), I3 (writes only through HeldMails), I6 (the stream only pokes; the timer
 * does the same), I7 (claims only as much as there is room and credit for).
 */
export async function startDispatcher(deps: DispatcherDeps): Promise<Dispatcher> {
  const { config, database, clock, log, metrics = new Metrics() } = deps;
  const protection = openBusProtection(config, { kind: "dispatcher", clock, log });
  const meter = new LoadMeter(() => clock.monotonicMs());
  const activity = new Activity(metrics, meter);
  const kinds = new TaskKinds();
  const policies = await openPolicies({
    store: database.policies,
    onOwnChecks: (names) => learn(kinds, names, database),
    nextHop: config.RELAY_NEXT_HOP,
    log,
  });
  const sources = createSources(config.SOURCES, () => policies.book(), log);
  const spool = config.SPOOL_DIR === undefined ? undefined : await openSpool(config.SPOOL_DIR);
  const stop = new AbortController();
  const closing = new AbortController();
  const pool = await startWorkerPool({
    bind: config.BUS_BIND,
    actorId: config.ACTOR_ID,
    maxMailBytes: config.MAX_MAIL_BYTES,
    clock,
    log,
    protection,
    onResult: (result) => {
      activity.onResult(result);
      desk.onResult(result);
    },
    onLost: (lost) => {
      activity.onLost(lost);
      desk.onLost(lost);
    },
    onWorkerGone: (kind, reason) => activity.onWorkerGone(kind, reason),
    onCreditChange: (kind) => {
      desk.poke(kind);
      intake.onCredit(kind);
      adoption.onCredit();
    },
  });
  const desk = new Desk({
    config,
    database,
    clock,
    log,
    pool,
    policies,
    sources,
    spool,
    activity,
    closing: closing.signal,
  });
  const catches = createTimerCatches(database.clock);
  const intake: Intake = createIntake({
    ...deps,
    desk,
    kinds,
    catches,
    activity,
  });
  const observation = createObservation({
    config,
    database,
    pool,
    desk,
    catches,
    meter,
    metrics,
    kinds,
  });
  const { signal } = stop;
  const adoption = startAdoption({ config, database, intake, desk, sources, kinds, log, signal });
  const watching = config.CHANGE_STREAM
    ? database.mails.watch({
        onHint: (hint) => {
          if (hint.next === "plan") catches.onHint(hint);
          intake.onHint(hint);
        },
        signal: stop.signal,
      })
    : Promise.resolve();
  const timers = startTimers(log, [
    { everyMs: config.POLL_MS, run: () => intake.tick() },
    { everyMs: config.POLL_MS, run: () => adoption.tick() },
    { everyMs: config.POLL_MS, run: () => intake.tickSuspects() },
    { everyMs: Math.max(1_000, config.LEASE_MS / 4), run: () => desk.held.renew() },
    { everyMs: config.POLICY_REFRESH_MS, run: () => refresh(policies, desk, kinds, database) },
    { everyMs: reportMs, run: () => report(deps, observation.status()) },
    { everyMs: config.WAITING_REFRESH_MS, run: () => observation.look() },
    { everyMs: config.RETENTION_MS, run: () => sweepRetention(deps) },
    ...(spool === undefined ? [] : [{ everyMs: 3_600_000, run: () => desk.sweepSpool() }]),
  ]);
  await refresh(policies, desk, kinds, database);
  await desk.sweepSpool();
  log.info({ bus: pool.endpoint, server: database.server }, "ready");

  const { promise: done, resolve: ended, reject: onBug } = Promise.withResolvers<void>();
  pool.done.catch(onBug);
  const close = async () => {
    stop.abort();
    closing.abort();
    timers.stop();
    desk.close();
    await intake.close();
    await pool.close();
    protection.close();
    await watching;
    await adoption.stop();
    await database.actors.leave(config.ACTOR_ID).catch(() => undefined);
    await database.close();
    log.info({ timerOnlyMails: catches.count }, "dispatcher ended");
    ended();
  };
  return {
    endpoint: pool.endpoint,
    ready: Promise.resolve(),
    done,
    close,
    [Symbol.asyncDispose]: close,
    async drain(signal) {
      stop.abort();
      signal?.addEventListener("abort", () => closing.abort(), { once: true });
      await intake.stop();
      await desk.drain(signal);
      await close();
    },
  };
}

/** What no dispatcher knows, none would ever claim. */
async function learn(
  kinds: TaskKinds,
  names: readonly OwnCheck[],
  { controls }: Database,
): Promise<void> {
  const unknown = names.filter((name) => !kinds.own.includes(name));
  if (unknown.length > 0) await controls.addOwnChecks(unknown);
  kinds.learn(unknown);
}

async function refresh(
  policies: PoliciesInForce,
  desk: Desk,
  kinds: TaskKinds,
  database: Database,
): Promise<void> {
  await policies.refresh();
  const { ownChecks, paused } = await database.controls.all();
  kinds.learn(ownChecks);
  desk.pause(new Set(paused));
  for (const kind of kinds.all) desk.poke(kind);
}

/** One dispatcher walks for all. That two do would cost twice as much, and no more: each removal is guarded. */
async function sweepRetention({ config, database, log }: DispatcherDeps): Promise<void> {
  const heldMs = 2 * config.RETENTION_MS + 60_000;
  if (!(await database.turns.take("retention", config.ACTOR_ID, heldMs))) return;
  const swept = await database.retention.sweep();
  if (swept.mails + swept.bodies + swept.unseen > 0) log.info(swept, "removed what is out of date");
}

async function report(deps: DispatcherDeps, status: DispatcherStatus): Promise<void> {
  const { config, database } = deps;
  await database.actors.report(config.ACTOR_ID, "dispatcher", status satisfies DispatcherReport);
}
