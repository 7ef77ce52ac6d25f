import type { Standing } from "../measure/ticker.ts";
import { rate, time } from "./numbers.ts";

const width = 80;
/** Where lines stay, one per second would be a wall of text. */
const plainEverySeconds = 5;

/** One line for a run: updated in place on a terminal, elsewhere a new one now and then. */
export interface LiveLine {
  show(standing: Standing): void;
  /** A line that stays; "" only clears the moving one. */
  say(text: string): void;
}

export interface LiveOutput {
  isTTY?: boolean;
  write(text: string): unknown;
}

export function createLiveLine(output: LiveOutput): LiveLine {
  const clear = "\r\x1b[2K";
  if (output.isTTY === true) {
    return {
      show: (standing) => void output.write(`${clear}${liveLine(standing)}`),
      say: (text) => void output.write(text === "" ? clear : `${clear}${text}\n`),
    };
  }
  return {
    show: (standing) => {
      if (standing.at % plainEverySeconds === 0) output.write(`${liveLine(standing)}\n`);
    },
    say: (text) => {
      if (text !== "") output.write(`${text}\n`);
    },
  };
}

/**
 * ` 12s  in 100/s  out 98.0/s  oldest 420ms  in flight 12  errors 0`, shorter than a terminal is
 * wide.
 */
export function liveLine(standing: Standing): string {
  const { at, accepted, delivered, oldestMs, inFlight, waiting, allErrors, seesOut, awayMs } =
    standing;
  const parts = [
    `${at}s`.padStart(4),
    ...(awayMs === undefined ? [] : [`DATABASE AWAY ${time(awayMs)}`]),
    `in ${rate(accepted)}`.padEnd(10),
    ...(seesOut
      ? [
          `out ${rate(delivered)}`.padEnd(11),
          `oldest ${oldestMs === undefined ? "-" : time(oldestMs)}`.padEnd(13),
          `in flight ${inFlight}`,
        ]
      : []),
    ...(waiting > 0 ? [`unsent ${waiting}`] : []),
    `errors ${allErrors}`,
  ];
  return parts.join("  ").slice(0, width - 1);
}
