import type { Logger } from "@rs-agent/shared/logger.ts";
import { adoptStep } from "@rs-agent/shared/mail/stub.ts";
import { kindOf, laneIn, lanesOf, type Lane } from "@rs-agent/shared/mail/lane.ts";
import type { TaskKind } from "@rs-agent/shared/checks/verdict.ts";
import type { MailState } from "@rs-agent/shared/life/states.ts";
import type { Clock } from "@rs-agent/shared/clock.ts";
import { AloneLane } from "@rs-agent/shared/store/alone-lane.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import type { TimerCatches } from "@rs-agent/shared/store/timer-catches.ts";
import type { Activity } from "./activity.ts";
import type { TaskKinds } from "./task-kinds.ts";
import type { MailHint } from "@rs-agent/shared/store/mails.ts";
import { createClaimer, type Claimer, type Wanted } from "./claimers.ts";
import type { DispatcherConfig } from "./config.ts";
import type { Desk } from "./desk.ts";

export interface IntakeDeps {
  config: DispatcherConfig;
  database: Pick<Database, "mails">;
  clock: Clock;
  desk: Desk;
  kinds: TaskKinds;
  log: Logger;
  catches: Pick<TimerCatches, "onClaimed">;
  activity: Pick<Activity, "onClaimed">;
}

/** Claims waiting mail, as much as there is room and credit for (I7). */
export interface Intake {
  /** A hint: what it tells of may wait, or anything. What waits for a relay is not ours. */
  onHint(hint: MailHint): void;
  /** Workers of this kind may take more than before. */
  onCredit(kind: TaskKind): void;
  /** The timer: asks once about everything that we claim, and claims what is due (I6). */
  tick(): Promise<void>;
  /** The timer: mail that may have killed dispatchers is looked for, and taken alone. */
  tickSuspects(): Promise<void>;
  /**
   * Records of a source that may be taken on now: what the workers of every kind take, or as many again
   * where the source has more. None beside a suspect.
   */
  roomToAdopt(source: string, hasMore: boolean): number;
  /** Begins something else that may end this service, and says how much; not beside a suspect. */
  among(begin: () => Promise<number>): Promise<number>;
  stop(): Promise<void>;
  /** Stops now. */
  close(): Promise<void>;
}

/** What is claimed before it has its first task, and after it was held. */
const firstSteps = [adoptStep, "plan", "retry"];
const claimedStates = ["incoming", "processing", "held"] as const;

/** Mails begun that no worker has credit for, at each tick: they must not wait unplanned. */
const trickle = 50;

export function createIntake(deps: IntakeDeps): Intake {
  const { config, database, clock, desk, kinds, log, catches, activity } = deps;
  const us = { owner: config.ACTOR_ID, leaseMs: config.LEASE_MS };
  const claim = (states: MailState[], next: string) => (wanted: Wanted) =>
    lane.among(async () => {
      const claimed = await database.mails.claim({ states, next, ...wanted, ...us });
      for (const { mail } of claimed) {
        if (mail.claims === 1) catches.onClaimed(mail._id, mail.receivedAt);
      }
      activity.onClaimed(next, claimed.length);
      await desk.take(claimed);
      return claimed.length;
    });
  const claimer = (states: MailState[], next: string, room: () => number) =>
    createClaimer({
      room: () => (lane.isOpen ? Math.min(desk.held.room(), room()) : 0),
      claim: async (wanted) => {
        const found = await claim(states, next)(wanted);
        const lane = laneIn(next);
        const isAny = wanted.only === undefined;
        if (lane !== undefined && isAny) desk.backlogs.claimed(lane, found, wanted.limit);
        return found;
      },
      batch: config.CLAIM_BATCH,
      log,
    });

  const credit = () => kinds.all.reduce((sum, kind) => sum + desk.room(kind), 0);
  /** Who has had its trickle since the last tick. */
  const trickled = new Set<string>();
  const trickleOf = (asker: string) => {
    if (trickled.has(asker)) return 0;
    trickled.add(asker);
    return trickle;
  };
  const isPaused = (step: "plan" | typeof adoptStep) =>
    desk.isPaused("plan") || desk.isPaused(step);
  const roomFor = (step: "plan" | typeof adoptStep) => {
    if (isPaused(step)) return 0;
    const room = credit();
    return room > 0 ? room : trickleOf(step);
  };
  const claimers = new Map<string, Claimer>([
    // Also mail that its holder planned and then left behind when it died.
    ["plan", claimer(["incoming", "processing"], "plan", () => roomFor("plan"))],
    // Stubs that their holder left behind.
    [adoptStep, claimer(["incoming"], adoptStep, () => roomFor(adoptStep))],
    ["retry", claimer(["held"], "retry", () => 20)],
  ]);
  const claimerOf = (lane: Lane) =>
    remembered(claimers, lane, () => claimer(["processing"], lane, () => desk.roomToClaim(lane)));
  const claimerFor = (next: string) => {
    const lane = laneIn(next);
    return lane === undefined ? claimers.get(next) : claimerOf(lane);
  };
  // With no able worker at all nothing is claimed for a kind; its oldest must still not wait forever.
  const overdue = new Map<Lane, Claimer>();
  const overdueOf = (lane: Lane) =>
    remembered(overdue, lane, () =>
      createClaimer({
        room: () => Math.min(desk.held.room(), config.CLAIM_BATCH),
        // One round each time: what still has to wait is due again immediately, and would be claimed again.
        claim: async (wanted) => {
          await claim(["processing"], lane)(wanted);
          return 0;
        },
        batch: config.CLAIM_BATCH,
        log,
      }),
    );
  const pokeAll = () => {
    trickled.clear();
    for (const lane of kinds.lanes) claimerOf(lane);
    for (const each of claimers.values()) each.poke();
  };
  let ticks = 0;
  let hasDue = true;
  const tick = async () => {
    trickled.clear();
    const asked = { states: claimedStates, next: [...firstSteps, ...kinds.lanes] };
    const due = await database.mails.dueFor(asked);
    // A suspect is due mail too.
    hasDue = due.length > 0;
    for (const next of due) claimerFor(next)?.poke();
    if (ticks++ % 20 !== 0) return;
    for (const next of due) {
      const lane = laneIn(next);
      if (lane !== undefined && !desk.isAble(lane)) overdueOf(lane).poke();
    }
  };
  // Also what no worker is able to do: the policy's `wait` must run out for suspects too.
  const isWorkable = (lane: Lane) =>
    !desk.isPaused(kindOf(lane)) && (desk.room(lane) > 0 || !desk.isAble(lane));
  const lane = new AloneLane({
    mails: database.mails,
    clock,
    log,
    wanted: () => {
      const workable = kinds.lanes.filter(isWorkable);
      const first = firstSteps.filter((step) => step !== adoptStep || !desk.isPaused(adoptStep));
      const next = [...(desk.isPaused("plan") ? [] : first), ...workable];
      return desk.held.room() > 0 ? { states: claimedStates, next, ...us } : undefined;
    },
    inHand: () => desk.held.size,
    begin: (claimed) => desk.takeAlone(claimed),
    onOpen: pokeAll,
  });

  return {
    onHint({ next, mailId }) {
      if (next === undefined) {
        pokeAll();
        return;
      }
      // What we hold waits for nobody: it was our own write.
      if (mailId !== undefined && desk.held.has(mailId)) return;
      const lane = laneIn(next);
      const isBehind = lane !== undefined && desk.backlogs.has(lane);
      claimerFor(next)?.poke(isBehind ? undefined : mailId);
    },
    onCredit(kind) {
      for (const lane of lanesOf(kind)) {
        if (desk.backlogs.has(lane)) claimerOf(lane).poke();
        else claimerOf(lane).onRoom();
      }
      for (const step of firstSteps) claimers.get(step)?.onRoom();
    },
    tick,
    tickSuspects: () => (hasDue ? lane.tick() : Promise.resolve()),
    roomToAdopt(source, hasMore) {
      if (!lane.isOpen || isPaused(adoptStep)) return 0;
      const able = kinds.all.filter((kind) => desk.isAble(kind));
      const rooms = able.map((kind) => desk.roomToClaim(kind, hasMore));
      const room = able.length === 0 ? trickleOf(`records ${source}`) : Math.min(...rooms);
      return Math.min(desk.held.room(), room);
    },
    among: (begin) => lane.among(begin),
    async stop() {
      await lane.stop();
      await Promise.all([...claimers.values(), ...overdue.values()].map((each) => each.stop()));
    },
    close: () => lane.stop(),
  };
}

function remembered<K>(made: Map<K, Claimer>, key: K, make: () => Claimer): Claimer {
  const known = made.get(key) ?? make();
  made.set(key, known);
  return known;
}
