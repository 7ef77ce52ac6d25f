import { spamEngines, type SpamEngineName } from "../checks/spam.ts";
import type { TaskSettings } from "./task-settings.ts";
import { ownCheckIn } from "../checks/own-check.ts";
import { builtInTasks, type TaskKind } from "../checks/verdict.ts";
import type { Engine } from "../checks/finding.ts";

/**
 * What a mail waits for, as its record's `next` says: any worker of a kind, or one with the engine
 * that its policy names. Mail for an engine that is away waits in a lane of its own, so that it
 * keeps no other mail waiting.
 */
export type Lane = TaskKind | `spam:${SpamEngineName}`;

const engineLanes = spamEngines.map((engine) => `spam:${engine}` as const);

export function laneOf(kind: TaskKind, settings: TaskSettings | undefined): Lane {
  if (kind !== "spam") return kind;
  const engine = spamEngines.find((each) => each === settings?.["engine"]);
  return engine === undefined ? kind : `spam:${engine}`;
}

/** The lane that a record's `next` names; undefined if that is not a task. */
export function laneIn(next: string | undefined): Lane | undefined {
  return [...builtInTasks, ...engineLanes].find((lane) => lane === next) ?? ownCheckIn(next);
}

export function lanesOf(kind: TaskKind): readonly Lane[] {
  return kind === "spam" ? [kind, ...engineLanes] : [kind];
}

export function kindOf(lane: Lane): TaskKind {
  return isEngineLane(lane) ? "spam" : lane;
}

function isEngineLane(lane: Lane): lane is `spam:${SpamEngineName}` {
  return engineOf(lane) !== undefined;
}

/** Undefined: any engine will do. */
export function engineOf(lane: Lane): SpamEngineName | undefined {
  return spamEngines.find((engine) => lane === `spam:${engine}`);
}

/** Whether this worker takes mail of the lane. */
export function serves(
  worker: { kind: string; engine?: Engine | null | undefined },
  lane: Lane,
): boolean {
  const engine = engineOf(lane);
  return worker.kind === kindOf(lane) && (engine === undefined || worker.engine?.name === engine);
}

/** For a person: `spam`, `spam with rspamd`. */
export function laneText(lane: Lane): string {
  const engine = engineOf(lane);
  return engine === undefined ? lane : `${kindOf(lane)} with ${engine}`;
}

/** For a person: `spam worker`, `spam worker with rspamd`. */
export function workerText(lane: Lane): string {
  const engine = engineOf(lane);
  return `${kindOf(lane)} worker${engine === undefined ? "" : ` with ${engine}`}`;
}
