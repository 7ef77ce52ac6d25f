import { messageOf } from "@rs-agent/shared/errors.ts";
import { vi } from "vitest";
import { timesLonger } from "../support/machine.ts";

/** How long a test on a quiet machine waits for something that is to happen. */
const quietMs = 60_000;
const waitFor = vi.waitFor.bind(vi);

/**
 * Patience grows with the load. The error is the last one that the callback threw, which names what
 * was waited for.
 */
vi.waitFor = async (callback, options = {}) => {
  const given = typeof options === "number" ? { timeout: options } : options;
  const begunAt = performance.now();
  for (;;) {
    try {
      return await waitFor(callback, { interval: 50, ...given, timeout: quietMs });
    } catch (error) {
      const waitedMs = performance.now() - begunAt;
      const load = timesLonger();
      if (waitedMs < quietMs * load) continue;
      const waited = `waited ${Math.round(waitedMs / 1_000)} s for nothing, load ${load.toFixed(1)}`;
      if (error instanceof Error) error.message = `${waited}: ${messageOf(error)}`;
      throw error;
    }
  }
};
