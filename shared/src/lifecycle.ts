import closeWithGrace from "close-with-grace";
import { RsError, messageOf } from "./errors.ts";
import type { Logger } from "./logger.ts";
import { columnsOf, wrapAtWords } from "./wrap-at-words.ts";

/** What every `start…` returns; disposed of, it closes. */
export interface ServiceHandle extends AsyncDisposable {
  /** Settles once the service does its work; rejects if it never will. */
  readonly ready: Promise<void>;
  /** Settles when the service has ended; rejects with what ended it, if that was a bug. */
  readonly done: Promise<void>;
  /** Finishes what is in flight and takes nothing new. Aborting `signal` turns it into `close`. */
  drain(signal?: AbortSignal): Promise<void>;
  /** Stops now. */
  close(): Promise<void>;
}

/** Exit codes of every service. 78 is EX_CONFIG of sysexits.h, 75 EX_TEMPFAIL. */
export const exitCodes = { drained: 0, bug: 70, cutShort: 75, badConfig: 78 } as const;

/** What `runService` runs; `drainMs` bounds its drain. */
export interface Running {
  handle: ServiceHandle;
  log: Logger;
  drainMs: number;
}

/**
 * Runs a service as this process: SIGTERM and SIGINT drain it within `drainMs`, a second one closes
 * it now. Exit code 0: drained; 75: cut short; 78: settings are wrong; 70: a bug.
 */
export async function runService(start: () => Promise<Running> | Running): Promise<void> {
  const running = await Promise.resolve().then(start).catch(exitWithError);
  const { handle, log, drainMs } = running;
  let draining = false;
  let cutShort = false;
  const finish = async () => {
    draining = true;
    onSecondSignal(() => {
      cutShort = true;
      void handle.close().finally(() => {
        exit(exitCodes.cutShort);
      });
    });
    log.info({ drainMs }, "draining");
    const limit = AbortSignal.timeout(drainMs);
    await handle.drain(limit);
    exit(limit.aborted || cutShort ? exitCodes.cutShort : exitCodes.drained);
  };
  closeWithGrace(
    {
      delay: drainMs + 2_000,
      logger: false,
      onTimeout: () => {
        exit(exitCodes.cutShort);
      },
    },
    async ({ err }) => {
      if (err === undefined) return finish();
      log.fatal({ err }, "a bug ended the service");
      exit(exitCodes.bug);
    },
  );
  handle.done.then(
    () => {
      if (!draining) exit(exitCodes.drained);
    },
    (error: unknown) => {
      log.fatal({ err: error }, "the service ended");
      exit(error instanceof RsError ? exitCodes.cutShort : exitCodes.bug);
    },
  );
  handle.ready.catch(exitWithError);
}

/** In place of close-with-grace's own answer, which exits immediately and waits for no `close`. */
function onSecondSignal(close: () => void): void {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.removeAllListeners(signal);
    process.once(signal, close);
  }
}

/** Ends a command-line program with what it has to say: named errors in one line, bugs whole. */
export function exitWithError(error: unknown): never {
  if (error instanceof RsError) {
    const text = `${error.code}: ${messageOf(error)}`;
    process.stderr.write(`${wrapAtWords(text, columnsOf(process.stderr))}\n`);
    exit(error.code.startsWith("CFG_") ? exitCodes.badConfig : 1);
  }
  process.stderr.write(
    `${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
  );
  exit(exitCodes.bug);
}

/** The one place that ends the process. */
export function exit(code: number): never {
  process.exit(code);
}
