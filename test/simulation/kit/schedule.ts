import { newToken } from "@rs-agent/shared/ids.ts";
import { dispatcherProgram, relayProgram, workerProgram } from "./actors.ts";
import type { Bug } from "./bugs.ts";
import { useNetwork } from "./bus/zeromq.ts";
import type { Violation } from "./invariants/invariants.ts";
import { isFinal } from "@rs-agent/shared/life/states.ts";
import { mailsIn } from "./invariants/records.ts";
import { createMails, ownCheck } from "./mails.ts";
import { ingestProgram, personProgram, writerProgram } from "./people.ts";
import { createPolicies } from "./policies.ts";
import { createRecords } from "./records.ts";
import { enter, leave } from "./virtual-globals.ts";
import { World } from "./world.ts";

export interface ScheduleOptions {
  seed: number;
  bug?: Bug | undefined;
  /** Keeps the story. */
  isTold?: boolean;
}

export interface ScheduleResult {
  seed: number;
  violation: Violation | undefined;
  events: number;
  virtualMs: number;
  /** Equal for two runs of one seed. */
  fingerprint: number;
  /** Recipients by their final outcome. */
  outcomes: Record<string, number>;
  /** What happened; empty unless `isTold`. */
  story: (mailId?: string) => string;
}

/** Within this time after the last fault, everything must have come to its end. */
const settleMs = 15 * 60_000;

/** Runs one schedule from its seed to its end, or to the first broken promise. */
export async function runSchedule(options: ScheduleOptions): Promise<ScheduleResult> {
  const { seed, bug, isTold = false } = options;
  const world = new World({ seed, bug, isTold });
  const { time, tcp, bus } = world;
  const surroundings = {
    time,
    random: world.random.fork("ids"),
    connect: tcp.connect.bind(tcp),
  };
  const onRejection = (error: unknown) => {
    world.violate({ invariant: "bug", mailId: undefined, text: `nobody handles ${told(error)}` });
  };
  process.on("unhandledRejection", onRejection);
  process.on("uncaughtException", onRejection);
  // Only a story tells where an error comes from: finding that out takes longer than the error
  // itself.
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = isTold ? 20 : 0;
  enter(surroundings);
  useNetwork(bus);
  try {
    drawIdsAnew();
    populate(world);
    world.nemesis.start();
    const untilMs = world.faults.healMs + settleMs;
    const hasSettled = watchSettled(world);
    let isAtEnd = false;
    await time.run(() => world.violation !== undefined || (isAtEnd = hasSettled()), untilMs);
    if (world.violation === undefined) conclude(world, isAtEnd);
  } catch (error) {
    world.violate({ invariant: "bug", mailId: undefined, text: told(error) });
  } finally {
    useNetwork(undefined);
    leave();
    Error.stackTraceLimit = stackTraceLimit;
    process.off("unhandledRejection", onRejection);
    process.off("uncaughtException", onRejection);
  }
  return {
    seed,
    violation: world.violation,
    events: time.events,
    virtualMs: time.nowMs,
    fingerprint: time.fingerprint,
    outcomes: outcomesOf(world),
    story: (mailId) => world.trace.story(mailId),
  };
}

/** Ids of the last schedule must not continue into this one. */
function drawIdsAnew(): void {
  for (let drawn = 0; drawn < 256; drawn++) newToken();
}

function populate(world: World): void {
  const { settings, set } = world;
  const random = world.random.fork("populate");
  const hasBothEngines = settings.workers.spam > 1;
  for (const document of createPolicies(random.fork("policies"), { hasBothEngines })) {
    set.insert("policies", document, undefined);
  }
  set.insert("controls", { _id: "policy-revision", revision: 1 }, undefined);
  const truths = createMails(random.fork("mails"), random.int(2, 10), random.between(10, 8_000));
  for (const truth of truths) world.addTruth(truth);
  if (settings.source !== undefined) {
    const its = random.fork("records");
    world.records.push(...createRecords(its, its.int(1, 8), its.between(10, 8_000)));
    for (const truth of world.records) world.addTruth(truth);
    world.supervise("writer", "ingest", writerProgram(), 0);
  }
  const soon = () => random.between(0, 1_500);
  world.supervise("ingest", "ingest", ingestProgram(truths), 0);
  world.supervise("person", "person", personProgram(), 0);
  for (const index of settings.dispatchers) {
    world.supervise(`dispatcher-${index}`, "dispatcher", dispatcherProgram(index), soon());
  }
  const kinds = { virus: "virus", spam: "spam", own: ownCheck, enrich: "enrich" } as const;
  for (const [count, kind] of Object.entries(kinds)) {
    for (let index = 0; index < settings.workers[count as keyof typeof kinds]; index++) {
      world.supervise(`${kind}-${index}`, "worker", workerProgram(kind, index), soon());
    }
  }
  for (let index = 0; index < settings.relays; index++) {
    world.supervise(`relay-${index}`, "relay", relayProgram(), soon());
  }
}

/**
 * Called after each event: whether everything has met its end, which only a write can bring about.
 */
function watchSettled(world: World): () => boolean {
  const lastBeginMs = Math.max(...[...world.truths].map(({ atMs }) => atMs));
  let judged = -1;
  return () => {
    const { nemesis, set, time } = world;
    if (!nemesis.healed || lastBeginMs > time.nowMs) return false;
    if (set.committed !== set.logEnd || set.committed === judged) return false;
    judged = set.committed;
    return isSettled(world);
  };
}

function isSettled(world: World): boolean {
  const mails = mailsIn(world.set);
  return mails.every(({ state }) => isFinal(state)) && world.invariants.adoption.isSettled;
}

function conclude(world: World, isAtEnd: boolean): void {
  if (isAtEnd) {
    world.invariants.atEnd();
    return;
  }
  const open = mailsIn(world.set).filter(({ state }) => !isFinal(state));
  const text = open.map(({ _id, state, next }) => `${_id} is ${state} for ${next ?? "nobody"}`);
  const mailId = open[0]?._id;
  world.violate({ invariant: "I1", mailId, text: `it does not settle: ${text.join(", ")}` });
}

function outcomesOf(world: World): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { state, recipients } of mailsIn(world.set)) {
    if (state === "split") continue;
    for (const { outcome } of recipients) counts[outcome] = (counts[outcome] ?? 0) + 1;
  }
  return counts;
}

function told(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
