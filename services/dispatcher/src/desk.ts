import type {
  LostTask,
  TaskResult,
  TaskToPlace,
  WorkerPool,
} from "@rs-agent/shared/bus/worker-pool.ts";
import type { Clock } from "@rs-agent/shared/clock.ts";
import { messageOf, TerminalError } from "@rs-agent/shared/errors.ts";
import type { Logger } from "@rs-agent/shared/logger.ts";
import type { TaskKind } from "@rs-agent/shared/mail/verdict.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import type { ClaimedMail } from "@rs-agent/shared/store/mails.ts";
import { bounceRejected } from "./bounce.ts";
import type { DispatcherConfig } from "./config.ts";
import { hold, note, type HeldMail } from "./held-mail.ts";
import { HeldMails } from "./held-mails.ts";
import { advance, forgetTransientVerdicts, noteEngineAway } from "./mail-flow.ts";
import { createPlacement, type Placement } from "./placement.ts";
import { plan, type PlanningDeps } from "./planning.ts";
import type { Policies } from "./policies.ts";
import { onLost, onResult, type ResultDeps } from "./results.ts";
import type { Spool } from "./spool.ts";
import { taskFor } from "./task-for.ts";
import * as transitions from "./transitions.ts";
import { createVerdictWriter } from "./verdict-writer.ts";

export interface DeskDeps {
  config: DispatcherConfig;
  database: Database;
  clock: Clock;
  log: Logger;
  pool: WorkerPool;
  policies: Policies;
  spool: Spool | undefined;
}

/** Where held mail is worked on: from the claim to the write that gives up the lease. */
export interface Desk {
  readonly held: HeldMails;
  readonly placement: Placement;
  /** Takes in claimed mail: each gets its plan and its first task. */
  take(claimed: readonly ClaimedMail[]): Promise<void>;
  onResult(result: TaskResult): void;
  onLost(lost: LostTask): void;
  /** Some worker of this kind grants credit or is at work: it may be waited for. */
  isAble(kind: TaskKind): boolean;
  /** Steps that a person has paused get no tasks. */
  pause(steps: ReadonlySet<string>): void;
  sweepSpool(): Promise<void>;
  /** Lets tasks at workers end, gives everything else back. Aborting leaves it to the leases. */
  drain(signal?: AbortSignal): Promise<void>;
}

export function createDesk(deps: DeskDeps): Desk {
  const { config, database, clock, log, pool, policies, spool } = deps;
  let paused: ReadonlySet<string> = new Set();
  let draining = false;

  const held = new HeldMails({
    mails: database.mails,
    readBody: (ref) => database.bodies.get(ref),
    clock,
    log,
    leaseMs: config.LEASE_MS,
    maxMails: config.MAX_HELD_MAILS,
    maxBytes: config.MAX_HELD_BYTES,
    cancelTask: (taskId) => {
      pool.cancel(taskId);
    },
    onLeft: (mail) => {
      if (mail.spoolPath !== undefined) settle(mail, spool?.remove(mail.spoolPath));
    },
  });

  const giveBack = (mail: HeldMail, next: TaskKind | "plan", reason?: string) => {
    note(mail, transitions.givenBack(mail.mail, next, reason));
    return held.finish(mail);
  };

  const placement = createPlacement({
    pool,
    monotonicMs: () => clock.monotonicMs(),
    placeMs: config.PLACE_MS,
    load: async (mail) => {
      if (!(await held.load(mail))) return false;
      if (spool !== undefined && mail.spoolPath === undefined && isSeen(pool, spool)) {
        mail.spoolPath = await spool.put(mail);
      }
      return true;
    },
    send: (mail, kind) => {
      const sent = placed(pool, spool, mail, kind, taskFor(mail, kind, config));
      if (sent === undefined) return false;
      held.taskSent(mail, sent.taskId, kind);
      return true;
    },
    giveBack: (mail, kind) => settle(mail, giveBack(mail, kind)),
    onError: (mail, error) => settle(mail, failed(mail, error)),
    isPaused: (kind) => draining || paused.has(kind),
  });

  const flow: ResultDeps = {
    actorId: config.ACTOR_ID,
    clock: database.clock,
    log,
    isAble: (kind) => paused.has(kind) || isAble(kind),
    enqueue: (mail, kind) => {
      mail.asked.add(kind);
      placement.enqueue(mail, kind);
    },
    finish: (mail) => held.finish(mail),
    bounce: (mail, reason, now) =>
      bounceRejected(database, config.MAIL_HOSTNAME, mail, reason, now),
    take: (taskId) => held.takeTask(taskId),
    putBody: (raw) => database.bodies.put(raw),
    giveBack,
    writeSoon: (mail) => {
      verdicts.add(mail);
    },
  };
  const verdicts = createVerdictWriter(config.VERDICT_WRITE_MS, (mail) =>
    settle(mail, held.write(mail)),
  );
  const planning: PlanningDeps = {
    actorId: config.ACTOR_ID,
    clock: database.clock,
    book: () => policies.book(),
    insert: (mail) => database.mails.insert(mail),
    write: (mail) => held.write(mail),
    finish: (mail) => held.finish(mail),
  };

  /** Nobody awaits what is done for one mail: an error is that mail's, and its lease ends by itself. */
  function settle(mail: HeldMail, work: Promise<unknown> | undefined): void {
    work?.catch((error: unknown) => {
      log.warn({ mailId: mail.mail._id, err: error }, "mail left to its lease's end");
      held.abandon(mail);
    });
  }

  /** A body that is gone or damaged is a dead letter; anything else is tried again by others. */
  async function failed(mail: HeldMail, error: unknown): Promise<void> {
    if (!(error instanceof TerminalError)) throw error;
    const reason = `${error.code}: ${messageOf(error)}`;
    note(mail, transitions.ended(mail.mail, "dead", reason, database.clock.now(), config.ACTOR_ID));
    await held.finish(mail);
  }

  async function takeOne(claimed: ClaimedMail): Promise<void> {
    const mail = hold(claimed);
    held.add(mail);
    forgetTransientVerdicts(mail);
    if ((await plan(planning, mail)) === "over") return;
    noteEngineAway(flow, mail, database.clock.now());
    await advance(flow, mail);
  }

  const isAble = (kind: TaskKind) =>
    pool
      .workers()
      .some((each) => each.kind === kind && each.state === "open" && each.unable === undefined);

  return {
    held,
    placement,
    isAble,
    async take(claimed) {
      await Promise.all(
        claimed.map(async (each) => {
          try {
            await takeOne(each);
          } catch (error) {
            log.warn({ mailId: each.mail._id, err: error }, "mail left to its lease's end");
          }
        }),
      );
    },
    onResult: (result) => settleTask(result.taskId, () => onResult(flow, result)),
    onLost: (lost) => settleTask(lost.taskId, () => onLost(flow, lost)),
    pause(steps) {
      paused = steps;
    },
    async sweepSpool() {
      await spool?.sweep(async (mailId, token) => {
        const mail = await database.mails.get(mailId);
        return mail?.lease?.token === token && mail.lease.until > database.clock.now();
      });
    },
    async drain(signal) {
      draining = true;
      await drained(held, giveBack, signal);
    },
  };

  function settleTask(taskId: string, run: () => Promise<void>): void {
    const mail = held.ofTask(taskId);
    if (mail !== undefined) settle(mail, run());
  }
}

/** Mail without a task at a worker goes back at once; the rest as its results come. */
async function drained(
  held: HeldMails,
  giveBack: (mail: HeldMail, next: TaskKind | "plan") => Promise<void>,
  signal: AbortSignal | undefined,
): Promise<void> {
  while (held.size > 0 && signal?.aborted !== true) {
    const idle = held.all().filter((mail) => !mail.over && mail.tasks.size === 0);
    await Promise.allSettled(
      idle.map((mail) => giveBack(mail, [...mail.asked][0] ?? nextOf(mail))),
    );
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Under which `next` the record waits as long as nothing else is known. */
function nextOf(mail: HeldMail): TaskKind | "plan" {
  const { next } = mail.mail;
  return next === "virus" || next === "spam" || next === "enrich" ? next : "plan";
}

/** By path to a worker that sees the spool, else as bytes. */
function placed(
  pool: WorkerPool,
  spool: Spool | undefined,
  mail: HeldMail,
  kind: TaskKind,
  task: TaskToPlace,
) {
  if (spool !== undefined && mail.spoolPath !== undefined) {
    const byPath = pool.place(kind, task, { spool: { id: spool.id, path: mail.spoolPath } });
    if (byPath !== undefined) return byPath;
  }
  return mail.raw === undefined ? undefined : pool.place(kind, task, mail.raw);
}

function isSeen(pool: WorkerPool, spool: Spool): boolean {
  return pool.workers().some(({ spools }) => spools.includes(spool.id));
}
