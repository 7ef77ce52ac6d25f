import { messageOf } from "@rs-agent/shared/errors.ts";
import type { Logger } from "@rs-agent/shared/logger.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import type { Backlog } from "@rs-agent/shared/store/mails.ts";

/** More mail than this, or mail that waits longer for a dispatcher, and new mail is put off. */
export interface OverloadLimits {
  maxWaiting: number;
  maxWaitingAgeMs: number;
}

/** What a look at the database showed. */
export interface SeenBacklog {
  /** Mails that have not passed their checks. */
  waiting: number;
  /** How long the oldest that nobody has taken on has waited. */
  oldestMs: number;
}

/** Both must be down to this part of their limit before mail is taken again: no flutter. */
const leavePart = 0.9;

/** Whether new mail is to be put off, given whether it was `before`. */
export function isOverloaded(before: boolean, seen: SeenBacklog, limits: OverloadLimits): boolean {
  const part = before ? leavePart : 1;
  return seen.waiting > limits.maxWaiting * part || seen.oldestMs > limits.maxWaitingAgeMs * part;
}

export interface OverloadDeps extends OverloadLimits {
  database: {
    mails: Pick<Database["mails"], "backlog">;
    clock: Pick<Database["clock"], "now">;
  };
  refreshMs: number;
  log: Logger;
}

/**
 * Whether more mail has come in than goes on. Sessions only read what the last look showed, so that
 * no reply ever waits for the database because of it; while the database does not answer, what was
 * known last holds.
 */
export interface OverloadWatch {
  readonly isOver: boolean;
  /** Since when, and what was seen last; undefined while mail is taken. */
  readonly state: (SeenBacklog & { since: Date }) | undefined;
  close(): void;
}

/** The looks take at most this part of the database's time, however long one of them takes. */
const effort = 0.05;

export function watchOverload(deps: OverloadDeps): OverloadWatch {
  const { database, refreshMs, log } = deps;
  let since: Date | undefined;
  let seen: SeenBacklog = { waiting: 0, oldestMs: 0 };
  let timer: NodeJS.Timeout | undefined;
  let closed = false;
  /** Somebody wants to know, or did when it was looked at last. */
  let isAsked = true;

  const look = async () => {
    const backlog = await database.mails.backlog(deps.maxWaiting);
    const now = database.clock.now();
    seen = seenIn(backlog, now);
    const isOver = isOverloaded(since !== undefined, seen, deps);
    if (isOver === (since !== undefined)) return;
    since = isOver ? now : undefined;
    const { maxWaiting, maxWaitingAgeMs } = deps;
    if (isOver) log.warn({ ...seen, maxWaiting, maxWaitingAgeMs }, "overload, new mail is put off");
    else log.info({ ...seen }, "the overload is over, mail is taken again");
  };
  const again = (waitMs: number) => {
    if (closed) return;
    timer = setTimeout(() => {
      // Where no mail comes, nobody asks.
      if (!isAsked && since === undefined) return again(refreshMs);
      isAsked = false;
      const begun = performance.now();
      look()
        .catch((error: unknown) => {
          if (!closed) log.debug({ reason: messageOf(error) }, "the backlog was not counted");
        })
        .finally(() => again(Math.max(refreshMs, (performance.now() - begun) / effort)));
    }, waitMs);
    timer.unref();
  };
  again(0);
  return {
    get isOver() {
      isAsked = true;
      return since !== undefined;
    },
    get state() {
      return since === undefined ? undefined : { since, ...seen };
    },
    close: () => {
      closed = true;
      clearTimeout(timer);
    },
  };
}

function seenIn({ count, untakenSince }: Backlog, now: Date): SeenBacklog {
  const oldestMs = untakenSince === undefined ? 0 : now.getTime() - untakenSince.getTime();
  return { waiting: count, oldestMs };
}
