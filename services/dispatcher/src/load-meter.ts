import { builtInTasks, type TaskKind } from "@rs-agent/shared/checks/verdict.ts";

const bucketMs = 5_000;
const buckets = 12;

/** What happened lately, by the second: over the last minute, or since the start if that is later. */
class Recent {
  readonly #sums = new Map<number, number>();
  readonly #startMs: number;

  constructor(nowMs: number) {
    this.#startMs = nowMs;
  }

  add(amount: number, nowMs: number): void {
    const bucket = Math.floor(nowMs / bucketMs);
    this.#sums.set(bucket, (this.#sums.get(bucket) ?? 0) + amount);
    this.#forget(bucket);
  }

  total(nowMs: number): number {
    this.#forget(Math.floor(nowMs / bucketMs));
    return [...this.#sums.values()].reduce((sum, each) => sum + each, 0);
  }

  perSecond(nowMs: number): number {
    const oldestMs = (Math.floor(nowMs / bucketMs) - buckets + 1) * bucketMs;
    const overMs = Math.max(bucketMs, nowMs - Math.max(oldestMs, this.#startMs));
    return (this.total(nowMs) * 1_000) / overMs;
  }

  #forget(newest: number): void {
    for (const bucket of this.#sums.keys()) {
      if (bucket > newest - buckets) return;
      this.#sums.delete(bucket);
    }
  }
}

/** Of one kind of task, as this dispatcher has seen it. */
export interface KindLoad {
  /** Mails that have come to need this task. */
  arrivalsPerSecond: number;
  completionsPerSecond: number;
  /** Mean time at the engine, milliseconds: of the last minute, or what it was last. */
  serviceMs: number | undefined;
}

/** What `workersWanted` rests on; every dispatcher reports its own. */
export interface Load {
  /** Mails claimed for their plan. */
  plannedPerSecond: number;
  kinds: Record<TaskKind, KindLoad>;
}

interface KindRecent {
  arrived: Recent;
  done: Recent;
  workMs: Recent;
}

/** Measures how fast work comes and how long it takes. */
export class LoadMeter {
  readonly #nowMs: () => number;
  readonly #planned: Recent;
  readonly #kinds = new Map<TaskKind, KindRecent>();
  readonly #lastServiceMs = new Map<TaskKind, number>();

  constructor(monotonicMs: () => number) {
    this.#nowMs = monotonicMs;
    this.#planned = new Recent(monotonicMs());
    for (const kind of builtInTasks) this.#recent(kind);
  }

  onPlanned(mails: number): void {
    this.#planned.add(mails, this.#nowMs());
  }

  onArrived(kind: TaskKind): void {
    this.#recent(kind).arrived.add(1, this.#nowMs());
  }

  onDone(kind: TaskKind, workMs: number): void {
    const nowMs = this.#nowMs();
    const { done, workMs: spentMs } = this.#recent(kind);
    done.add(1, nowMs);
    spentMs.add(workMs, nowMs);
  }

  load(): Load {
    const kinds = [...this.#kinds.keys()].map((kind) => [kind, this.#kindLoad(kind)]);
    return {
      plannedPerSecond: this.#planned.perSecond(this.#nowMs()),
      kinds: Object.fromEntries(kinds) as Load["kinds"],
    };
  }

  #recent(kind: TaskKind): KindRecent {
    const known = this.#kinds.get(kind);
    if (known !== undefined) return known;
    const recent = () => new Recent(this.#nowMs());
    const made = { arrived: recent(), done: recent(), workMs: recent() };
    this.#kinds.set(kind, made);
    return made;
  }

  #kindLoad(kind: TaskKind): KindLoad {
    const nowMs = this.#nowMs();
    const { arrived, done, workMs } = this.#recent(kind);
    const count = done.total(nowMs);
    if (count > 0) this.#lastServiceMs.set(kind, workMs.total(nowMs) / count);
    return {
      arrivalsPerSecond: arrived.perSecond(nowMs),
      completionsPerSecond: done.perSecond(nowMs),
      serviceMs: this.#lastServiceMs.get(kind),
    };
  }
}
