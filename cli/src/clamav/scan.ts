import { readFile } from "node:fs/promises";
import type { Readable } from "node:stream";
import { ask, version } from "@rs-agent/av-worker/clamd/command.ts";
import { createDeadline } from "@rs-agent/shared/deadline.ts";
import { createClamdPool, type ClamdPool } from "@rs-agent/av-worker/clamd/engine.ts";
import type { ScanInput } from "@rs-agent/av-worker/clamd/frames.ts";
import { RetryableError, messageOf } from "@rs-agent/shared/errors.ts";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import { unchecked, type Engine } from "@rs-agent/shared/checks/finding.ts";
import { systemClock } from "@rs-agent/shared/clock.ts";
import type { EngineAddress } from "@rs-agent/shared/engines/engine-address.ts";
import { findEntries, type Entry } from "./files.ts";
import { outcomeOf, type FileOutcome, type ScannedFile } from "./outcome.ts";
import type { Streams } from "./program.ts";
import { readPathReply } from "./path-reply.ts";
import { createReport, type ReportOptions } from "./report.ts";

export interface ScanSettings extends ReportOptions {
  address: EngineAddress;
  /** For each file: waiting for its turn at clamd, sending and scanning together. */
  timeoutMs: number;
  maxBytes: number;
  /** Files at once. */
  jobs: number;
  /** By path, on a disk that clamd shares. */
  disk: boolean;
}

/**
 * Scans all that the paths lead to and reports it; the result is the exit code.
 * @throws RetryableError AV_ENGINE_AWAY, AV_TIMEOUT, AV_ENGINE_ERROR if clamd is not there at all
 */
export async function scanAll(
  paths: readonly string[],
  settings: ScanSettings,
  streams: Streams,
): Promise<number> {
  const engine = await askEngine(settings);
  using pool = createPool(settings, engine);
  using start = createDeadline(settings.timeoutMs);
  await pool.check(start.signal);
  const entries = await findEntries(paths);
  const report = createReport(settings, entries, streams, { address: settings.address, engine });
  const scanner = { pool, settings, stdin: streams.stdin };
  const rest = entries.values();
  const work = async () => {
    for (const entry of rest) for (const file of await scanEntry(entry, scanner)) report.add(file);
  };
  await Promise.all(Array.from({ length: settings.jobs }, work));
  return report.end();
}

async function askEngine({ address, timeoutMs }: ScanSettings): Promise<Engine> {
  using deadline = createDeadline(Math.min(timeoutMs, 10_000));
  return (await version(address, deadline.signal)).engine;
}

/** A person asks this one clamd, so it is asked as soon as it answers VERSION. */
function createPool(settings: ScanSettings, engine: Engine): ClamdPool {
  const check = async (address: EngineAddress, signal: AbortSignal) => {
    try {
      await version(address, signal);
      return { kind: "able" as const, engine, blind: [] };
    } catch (error) {
      return { kind: "unable" as const, reason: messageOf(error) };
    }
  };
  const options = {
    sessions: 1,
    depth: settings.jobs,
    streamMaxBytes: settings.maxBytes,
    recoveryWaitMs: 2_000,
  };
  const deps = { check, clock: systemClock, log: createSilentLogger() };
  return createClamdPool([settings.address], options, deps);
}

interface Scanner {
  pool: ClamdPool;
  settings: ScanSettings;
  stdin: Readable;
}

async function scanEntry(entry: Entry, scanner: Scanner): Promise<ScannedFile[]> {
  const startedAt = performance.now();
  using deadline = createDeadline(scanner.settings.timeoutMs);
  const done = (path: string, outcome: FileOutcome, size?: number): ScannedFile => {
    const ms = Math.round(performance.now() - startedAt);
    return { path, outcome, ms, ...(size === undefined ? {} : { size }) };
  };
  switch (entry.kind) {
    case "decided":
      return [done(entry.path, entry.outcome)];
    case "unknown": {
      if (scanner.settings.disk) return await scanRemote(entry.path, scanner, deadline.signal);
      const detail = "No such file or directory";
      return [done(entry.path, { result: "error", detail })];
    }
    case "stdin": {
      const bytes = await readAll(scanner.stdin, scanner.settings.maxBytes + 1, deadline.signal);
      const outcome = await scanInput({ kind: "bytes", bytes }, scanner, deadline.signal);
      return [done("stdin", outcome, bytes.length)];
    }
    case "file": {
      const outcome = await scanFile(entry, scanner, deadline.signal);
      return [done(entry.path, outcome, entry.size)];
    }
  }
}

async function scanFile(
  { path, size }: { path: string; size: number },
  scanner: Scanner,
  signal: AbortSignal,
): Promise<FileOutcome> {
  const { settings } = scanner;
  if (settings.disk) return scanInput({ kind: "path", path }, scanner, signal);
  if (size > settings.maxBytes) {
    return outcomeOf(unchecked("too-large", `${size} bytes; --max-size is ${settings.maxBytes}`));
  }
  try {
    return await scanInput({ kind: "bytes", bytes: await readFile(path) }, scanner, signal);
  } catch (error) {
    return { result: "error", detail: messageOf(error) };
  }
}

async function scanInput(
  input: ScanInput,
  { pool, settings: { timeoutMs } }: Scanner,
  signal: AbortSignal,
): Promise<FileOutcome> {
  return outcomeOf((await pool.ask(input, { signal, timeoutMs, accountMs: 0 })).finding);
}

/**
 * CONTSCAN of a path that only clamd can see. clamd lists what it found, or answers `OK` if that is
 * nothing.
 */
async function scanRemote(
  path: string,
  { settings }: Scanner,
  signal: AbortSignal,
): Promise<ScannedFile[]> {
  const startedAt = performance.now();
  const ms = () => Math.round(performance.now() - startedAt);
  try {
    const replies = await ask(settings.address, `CONTSCAN ${path}`, { signal });
    return replies.map((reply) => ({ ...readPathReply(reply, path), ms: ms() }));
  } catch (error) {
    if (!(error instanceof RetryableError)) throw error;
    return [{ path, outcome: { result: "error", detail: messageOf(error) }, ms: ms() }];
  }
}

/** At most `limit` bytes of a stream; a longer one is cut there, and then found to be too large. */
async function readAll(stream: Readable, limit: number, signal: AbortSignal): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  const stop = () => stream.destroy(new RetryableError("AV_TIMEOUT", "standard input has no end"));
  signal.addEventListener("abort", stop, { once: true });
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    size += chunk.length;
    if (size >= limit) break;
  }
  signal.removeEventListener("abort", stop);
  return Buffer.concat(chunks).subarray(0, limit);
}
