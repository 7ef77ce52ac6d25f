import { closeSync, openSync, readSync, statSync } from "node:fs";

/** A line of a service's log, as pino writes it. */
export interface LogLine {
  msg: string;
  level: number;
  [field: string]: unknown;
}

const lookBytes = 65_536;
/** pino's numbers. */
export const warningLevel = 40;
const errorLevel = 50;

/**
 * Reads what a service has logged from some place in its file on. The service writes to the file
 * itself, so that it goes on logging whatever becomes of us.
 */
export class ServiceLog {
  readonly file: string;
  #offset: number;
  #rest = "";

  /** Begins at the current end of the file. */
  constructor(file: string) {
    this.file = file;
    this.#offset = sizeOf(file);
  }

  /** Of all that is in the file. */
  static fromStart(file: string): ServiceLog {
    const log = new ServiceLog(file);
    log.#offset = 0;
    return log;
  }

  /** The whole lines that came since the last call, except those that are not JSON. */
  read(): LogLine[] {
    const { bytes, offset } = readFrom(this.file, this.#offset);
    this.#offset = offset;
    const lines = (this.#rest + bytes.toString("utf8")).split("\n");
    this.#rest = lines.pop() ?? "";
    return lines.flatMap((line) => parseLine(line) ?? []);
  }
}

/**
 * What a service said last about its own trouble: error lines, or plain lines that are not JSON.
 */
export function troubleOf(file: string): string {
  const { bytes } = readFrom(file, Math.max(0, sizeOf(file) - lookBytes));
  const lines = bytes
    .toString("utf8")
    .split("\n")
    .filter((line) => line.trim() !== "");
  const trouble = lines.flatMap((line) => {
    const parsed = parseLine(line);
    if (parsed === undefined) return [line];
    return parsed.level >= errorLevel ? [saidBy(parsed)] : [];
  });
  // A service that was restarted again and again says the same each time.
  return [...new Set(trouble)].slice(-6).join("\n");
}

/** A line for a person: its message, with the reason. */
export function saidBy(line: LogLine): string {
  const error = line["err"];
  const message = isRecord(error) ? error["message"] : line["reason"];
  return typeof message === "string" ? `${line.msg}: ${message}` : line.msg;
}

function parseLine(line: string): LogLine | undefined {
  try {
    const value: unknown = JSON.parse(line);
    if (!isRecord(value) || typeof value["msg"] !== "string") return undefined;
    return { ...value, msg: value["msg"], level: Number(value["level"]) };
  } catch {
    return undefined;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

/** 0 if the file is gone: somebody may remove our folder. */
function sizeOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0;
}

function readFrom(file: string, offset: number): { bytes: Buffer; offset: number } {
  const bytes = Buffer.alloc(Math.max(0, sizeOf(file) - offset));
  if (bytes.length === 0) return { bytes, offset };
  const descriptor = openSync(file, "r");
  try {
    const read = readSync(descriptor, bytes, 0, bytes.length, offset);
    return { bytes: bytes.subarray(0, read), offset: offset + read };
  } finally {
    closeSync(descriptor);
  }
}
