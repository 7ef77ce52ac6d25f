import { residentMb } from "@rs-agent/kit/processes/resident-memory.ts";

/** The resident memory of one process over a run. */
export interface MemoryOfPart {
  part: string;
  /** MB at ten evenly spaced points of the run, for a person to see. */
  overTimeMb: number[];
  maxMb: number;
  /**
   * The slope of the straight line through the samples from `judgedFromMinute` on, in percent of
   * their mean.
   */
  slopePercentPerMinute: number;
  judgedFromMinute: number;
}

interface Sample {
  minute: number;
  mb: number;
}

const everyMs = 1_000;
/** Until then caches fill and code is compiled. */
const settledMinute = 2;

/** Looks at the processes each second until it is stopped; `pids` is called each time. */
export function watchMemory(pids: () => Record<string, number>): { stop(): MemoryOfPart[] } {
  const samples = new Map<string, Sample[]>();
  const begun = performance.now();
  const look = () => {
    const minute = (performance.now() - begun) / 60_000;
    for (const [part, pid] of Object.entries(pids())) {
      const mb = residentMb(pid);
      if (mb === 0) continue;
      const seen = samples.get(part) ?? [];
      seen.push({ minute, mb });
      samples.set(part, seen);
    }
  };
  const timer = setInterval(look, everyMs);
  look();
  return {
    stop: () => {
      clearInterval(timer);
      return [...samples].map(([part, seen]) => memoryOf(part, seen));
    },
  };
}

function memoryOf(part: string, seen: readonly Sample[]): MemoryOfPart {
  const last = seen.at(-1)?.minute ?? 0;
  // A run too short for that is judged by its second half.
  const judgedFromMinute = last > settledMinute + 1 ? settledMinute : last / 2;
  const judged = seen.filter(({ minute }) => minute >= judgedFromMinute);
  const at = (tenth: number) => seen[Math.floor((tenth * (seen.length - 1)) / 9)]?.mb ?? 0;
  return {
    part,
    overTimeMb: Array.from({ length: 10 }, (_, tenth) => Math.round(at(tenth))),
    maxMb: Math.round(Math.max(...seen.map(({ mb }) => mb))),
    slopePercentPerMinute: slopeOf(judged),
    judgedFromMinute,
  };
}

/** By least squares. */
function slopeOf(samples: readonly Sample[]): number {
  const count = samples.length;
  const mean = (of: (sample: Sample) => number) =>
    samples.reduce((sum, sample) => sum + of(sample), 0) / count;
  const [meanMinute, meanMb] = [mean(({ minute }) => minute), mean(({ mb }) => mb)];
  const spread = mean(({ minute }) => (minute - meanMinute) ** 2);
  const joint = mean(({ minute, mb }) => (minute - meanMinute) * (mb - meanMb));
  return spread === 0 ? 0 : ((joint / spread) * 100) / meanMb;
}
