import { setTimeout as wait } from "node:timers/promises";
import { messageOf } from "@rs-agent/shared/errors.ts";

/** A server of ours next to the services: an engine, or the database. */
export interface Server {
  pid: number;
  /** Settles when its process has ended, for whatever reason. */
  ended: Promise<unknown>;
  stop(): Promise<void>;
}

export interface KeepRunningOptions<S extends Server> {
  /** For a person. */
  name: string;
  /** `before`: the server that ended; the new one takes its place, at the same address. */
  start: (before: S | undefined, signal: AbortSignal) => Promise<S>;
  /** Told about each process that was started. */
  onStart: (server: S) => void;
  /** Told, in one line, about an end that nobody asked for and what follows. */
  onTrouble: (text: string) => void;
  /** False: a server that ends by itself is not restarted. */
  restart: boolean;
  /** Stops trying to start. */
  signal: AbortSignal;
  firstBackoffMs?: number;
}

export interface KeptRunning<S extends Server> {
  /** The server as first started; a later one has its address. */
  first: S;
  /** Ends the server that is running, for good. */
  stop(): Promise<void>;
}

const slowestBackoffMs = 10_000;

/**
 * Starts a server, and restarts it whenever it ends by itself: what waits for it then goes on.
 * @throws what the first start threw
 */
export async function keepRunning<S extends Server>(
  options: KeepRunningOptions<S>,
): Promise<KeptRunning<S>> {
  const { name, start, onStart, onTrouble, firstBackoffMs = 200 } = options;
  const stopping = new AbortController();
  const signal = AbortSignal.any([options.signal, stopping.signal]);
  const isOver = () => signal.aborted;
  const first = await start(undefined, signal);
  onStart(first);
  let current = first;

  const again = async (): Promise<S | undefined> => {
    onTrouble(`${name} ended unexpectedly and is restarted; mail waits`);
    for (let backoffMs = firstBackoffMs; !isOver(); backoffMs *= 2) {
      await wait(Math.min(backoffMs, slowestBackoffMs), undefined, { signal }).catch(() => 0);
      if (isOver()) return undefined;
      try {
        const next = await start(current, signal);
        onTrouble(`${name} runs again`);
        return next;
      } catch (error) {
        if (!isOver()) onTrouble(`${name} does not start: ${messageOf(error)}`);
      }
    }
    return undefined;
  };
  const watch = async () => {
    for (;;) {
      await current.ended;
      const next = isOver() ? undefined : await again();
      if (next === undefined) return;
      current = next;
      onStart(next);
      if (stopping.signal.aborted) await next.stop();
    }
  };
  const watching = options.restart ? watch() : Promise.resolve();
  return {
    first,
    stop: async () => {
      stopping.abort();
      await current.stop();
      await watching;
    },
  };
}
