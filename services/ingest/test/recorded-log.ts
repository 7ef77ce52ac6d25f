import { Writable } from "node:stream";
import { pino } from "pino";
import type { Logger } from "@rs-agent/shared/logger.ts";

/** A logger that keeps what it is told, as text and line by line. */
export interface RecordedLog {
  log: Logger;
  text: () => string;
  lines: () => Record<string, unknown>[];
}

export function recordLog(): RecordedLog {
  let text = "";
  const sink = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      text += chunk.toString();
      done();
    },
  });
  return {
    log: pino({ level: "info" }, sink),
    text: () => text,
    lines: () =>
      text
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => JSON.parse(line) as Record<string, unknown>),
  };
}
