import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";

const mostTimes = 5;

/**
 * How many times longer things take here than on a quiet machine, by the number of processes
 * waiting for a core in the last minute or right now (proc(5), loadavg). At least 1, at most 5.
 */
export function timesLonger(): number {
  const [lastMinute = "", , , now = ""] = readFileSync("/proc/loadavg", "latin1").split(" ");
  const waiting = Math.max(Number(lastMinute), Number.parseInt(now, 10) - 1);
  return Math.min(mostTimes, Math.max(1, waiting / availableParallelism()));
}

/**
 * For a service's short lease or time-out: a value that is enough on a quiet machine, as a setting
 * for this one.
 */
export function machineMs(quietMs: number): string {
  return String(Math.round(quietMs * timesLonger()));
}
