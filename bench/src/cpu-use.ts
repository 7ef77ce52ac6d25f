import { treeCpuMs } from "@rs-agent/kit/processes/cpu-time.ts";

/** Process ids by part; processes that they start are included. */
export type Processes = Readonly<Record<string, readonly number[]>>;

/** Counts from now on; the function returns CPU milliseconds per mail since then, by part. */
export function countCpu(processes: () => Processes): (mails: number) => Record<string, number> {
  const before = cpuOf(processes());
  return (mails) =>
    Object.fromEntries(
      Object.entries(cpuOf(processes())).map(([part, ms]) => [
        part,
        (ms - (before[part] ?? 0)) / mails,
      ]),
    );
}

function cpuOf(processes: Processes): Record<string, number> {
  return Object.fromEntries(
    Object.entries(processes).map(([part, pids]) => [
      part,
      pids.reduce((sum, pid) => sum + treeCpuMs(pid), 0),
    ]),
  );
}
