import { z } from "zod";

const unitMs = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const shape = /^(\d{1,9})(ms|s|m|h|d)$/;

/** A duration as people write it: `30s`, `5m`, `4h`, `7d`. A bare number is refused: no unit, no meaning. */
export const durationSchema = z
  .string({ error: "must be a duration such as 30s, 5m, 4h or 7d" })
  .regex(shape, { error: "must be a duration such as 30s, 5m, 4h or 7d" });

/**
 * Milliseconds of a duration that fits {@link durationSchema}.
 * @throws RangeError for anything else
 */
export function durationMs(text: string): number {
  const match = shape.exec(text);
  if (match === null) throw new RangeError(`not a duration: ${text}`);
  const [, count, unit] = match;
  return Number(count) * unitMs[unit as keyof typeof unitMs];
}

/** The two biggest units of a time span: `4h`, `1d 3h`, `5m 20s`, `850ms`. */
export function formatDuration(ms: number): string {
  if (ms < 1_000) return `${String(Math.max(0, Math.round(ms)))}ms`;
  const parts: string[] = [];
  let rest = Math.floor(ms / 1_000) * 1_000;
  for (const unit of ["d", "h", "m", "s"] as const) {
    const count = Math.floor(rest / unitMs[unit]);
    rest -= count * unitMs[unit];
    if (count > 0 || parts.length > 0) parts.push(count > 0 ? `${String(count)}${unit}` : "");
    if (parts.length === 2) break;
  }
  return parts.filter((part) => part !== "").join(" ");
}
