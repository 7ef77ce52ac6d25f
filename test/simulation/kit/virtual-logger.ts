import { inspect } from "node:util";
import type { Logger } from "@rs-agent/shared/logger.ts";
import type { Trace } from "./trace.ts";
import type { VirtualProcess } from "./virtual-time.ts";

const levels = ["trace", "debug", "info", "warn", "error", "fatal"] as const;

/** The log of a virtual process: into the trace, if there is one. */
export function createVirtualLogger(trace: Trace, process: VirtualProcess): Logger {
  return loggerWith(trace, process, {});
}

function loggerWith(trace: Trace, process: VirtualProcess, bound: object): Logger {
  const write = trace.enabled
    ? (level: string) => (first: unknown, message?: string) => {
        const fields = { ...bound, ...(typeof first === "object" ? first : {}) };
        const { mailId } = fields as { mailId?: string };
        const text = typeof first === "string" ? first : (message ?? "");
        trace.note(process.name, mailId === undefined ? [] : [mailId], () => {
          const rest = Object.entries(fields).filter(([name]) => name !== "mailId");
          const shown = rest.map(([name, value]) => `${name}=${shownAs(value)}`);
          return `${level}: ${[text, ...shown].join(" ")}`;
        });
      }
    : () => () => undefined;
  const methods = Object.fromEntries(levels.map((level) => [level, write(level)]));
  const child = (more: object) =>
    trace.enabled ? loggerWith(trace, process, { ...bound, ...more }) : logger;
  const logger = { ...methods, child } as unknown as Logger;
  return logger;
}

function shownAs(value: unknown): string {
  if (value instanceof Error) return value.stack ?? value.message;
  return typeof value === "string" ? value : inspect(value, { breakLength: Infinity });
}
