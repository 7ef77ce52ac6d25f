import { availableParallelism, loadavg } from "node:os";
import { messageOf } from "@rs-agent/shared/errors.ts";
import { vi } from "vitest";

/**
 * How long a test waits for what shall happen at all. Where others compute too, or the disk stands still, everything
 * takes longer: patience grows with the load that the machine shows, at most to `mostTimes` of that of a quiet one.
 */
const quietMs = 60_000;
const mostTimes = 4;
const waitFor = vi.waitFor.bind(vi);

function timesLonger(): number {
  const [lastMinute = 0] = loadavg();
  return Math.min(mostTimes, Math.max(1, lastMinute / availableParallelism()));
}

/** The error is what the callback threw last, which names what was waited for. */
vi.waitFor = async (callback, options = {}) => {
  const given = typeof options === "number" ? { timeout: options } : options;
  const begunAt = performance.now();
  for (;;) {
    try {
      return await waitFor(callback, { interval: 50, ...given, timeout: quietMs });
    } catch (error) {
      const waitedMs = performance.now() - begunAt;
      if (waitedMs < quietMs * timesLonger()) continue;
      const machine = `load ${loadavg()[0]?.toFixed(1)} on ${availableParallelism()} cores`;
      const waited = `waited ${Math.round(waitedMs / 1_000)} s in vain (${machine})`;
      if (error instanceof Error) error.message = `${waited}: ${messageOf(error)}`;
      throw error;
    }
  }
};
