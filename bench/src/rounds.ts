import { countCpu, type Processes } from "./cpu-use.ts";
import { medianInterval, spreadOf, type Interval, type Spread } from "./spread.ts";

/** One side of a comparison. */
export interface Subject {
  name: string;
  round(): Promise<SubjectRound>;
}

export interface SubjectRound {
  /** Mails (or checks) per second. */
  perSecond: number;
  /** CPU milliseconds per mail, by part. */
  cpuMs: Record<string, number>;
}

export interface SubjectFigures {
  name: string;
  perSecond: Spread;
  /** Sum over all parts. */
  cpuMs: Spread;
  /** Medians. */
  cpuMsByPart: Record<string, number>;
  rounds: SubjectRound[];
}

/** Ours divided by another, round by round. */
export interface Ratio {
  against: string;
  values: number[];
  spread: Spread;
  interval: Interval | undefined;
}

/** Times a round; `work` returns how many mails it was. */
export async function timedRound(
  processes: () => Processes,
  work: () => Promise<number>,
): Promise<SubjectRound> {
  const cpuUsed = countCpu(processes);
  const beganAt = performance.now();
  const count = await work();
  const seconds = (performance.now() - beganAt) / 1_000;
  return { perSecond: count / seconds, cpuMs: cpuUsed(count) };
}

/** Runs rounds of all subjects in turn, so that other work of the machine affects them all. */
export async function interleave(
  subjects: readonly Subject[],
  rounds: number,
  tell: (text: string) => void = () => undefined,
): Promise<SubjectFigures[]> {
  const seen = subjects.map(({ name }) => ({ name, rounds: [] as SubjectRound[] }));
  for (let n = 0; n < rounds; n += 1) {
    for (const [place, subject] of subjects.entries()) {
      const round = await subject.round();
      seen[place]?.rounds.push(round);
      tell(`${n + 1}/${rounds} ${subject.name}: ${round.perSecond.toFixed(1)}/s`);
    }
  }
  return seen.map(figuresOf);
}

function figuresOf({ name, rounds }: { name: string; rounds: SubjectRound[] }): SubjectFigures {
  const parts = Object.keys(rounds[0]?.cpuMs ?? {});
  const total = ({ cpuMs }: SubjectRound) => Object.values(cpuMs).reduce((sum, ms) => sum + ms, 0);
  const ofPart = (part: string) => spreadOf(rounds.map(({ cpuMs }) => cpuMs[part] ?? 0)).median;
  return {
    name,
    perSecond: spreadOf(rounds.map(({ perSecond }) => perSecond)),
    cpuMs: spreadOf(rounds.map(total)),
    cpuMsByPart: Object.fromEntries(parts.map((part) => [part, ofPart(part)])),
    rounds,
  };
}

/** Divides each round of `ours` by the other's round that ran next to it. */
export function ratioOf(ours: SubjectFigures, other: SubjectFigures): Ratio {
  const values = ours.rounds.map(
    ({ perSecond }, n) => perSecond / (other.rounds[n]?.perSecond ?? Number.NaN),
  );
  return {
    against: other.name,
    values,
    spread: spreadOf(values),
    interval: medianInterval(values),
  };
}
