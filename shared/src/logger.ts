import { pino, type Logger } from "pino";

export type { Logger } from "pino";

/**
 * The service's logger: JSON lines on standard error (standard output belongs to a command's
 * result). `LOG_LEVEL` as pino has it.
 */
export function createLogger(service: string, level: string): Logger {
  return pino({ name: service, level }, pino.destination(2));
}

/** A logger that says nothing, for tests and for the CLI. */
export function createSilentLogger(): Logger {
  return pino({ level: "silent" });
}
