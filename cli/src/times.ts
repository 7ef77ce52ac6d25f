import { formatDuration } from "@rs-agent/shared/duration.ts";

/** `2026-01-31 12:00:00Z`: UTC, as the logs have it. */
export function instant(at: Date): string {
  return `${at.toISOString().slice(0, 19).replace("T", " ")}Z`;
}

/** A time span, the finer the shorter it is: `12ms`, `3.4s`, `5m 20s`. */
export function span(ms: number): string {
  if (ms < 999.5 || ms >= 9_950) return formatDuration(ms);
  return `${(ms / 1_000).toFixed(1)}s`;
}

/** How long ago, or how far away; anything within a second is now. */
export function age(at: Date, now: Date): string {
  const ms = now.getTime() - at.getTime();
  if (Math.abs(ms) < 1_000) return "now";
  return ms >= 0 ? `${formatDuration(ms)} ago` : `in ${formatDuration(-ms)}`;
}
