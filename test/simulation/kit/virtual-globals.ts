import crypto from "node:crypto";
import { syncBuiltinESMExports } from "node:module";
import net from "node:net";
import timersPromises from "node:timers/promises";
import type { Planned, VirtualTime } from "./virtual-time.ts";
import type { Random } from "./random.ts";

/**
 * Puts virtual time, chance and sockets in the place of Node's own, so that the product's code runs
 * as it is. Outside a schedule (`enter` … `leave`), the real ones answer.
 */

/** What the code of a schedule gets instead of the real world. */
export interface Surroundings {
  time: VirtualTime;
  /** For what belongs to no process. */
  random: Random;
  connect: (options: net.NetConnectOpts, onConnect: () => void) => net.Socket;
}

let here: Surroundings | undefined;

const real = {
  setTimeout: globalThis.setTimeout,
  setInterval: globalThis.setInterval,
  setImmediate: globalThis.setImmediate,
  clearTimeout: globalThis.clearTimeout,
  clearInterval: globalThis.clearInterval,
  clearImmediate: globalThis.clearImmediate,
  random: Math.random,
  dateNow: Date.now,
  performanceNow: performance.now.bind(performance),
  abortAfter: AbortSignal.timeout.bind(AbortSignal),
  abortWithAny: AbortSignal.any.bind(AbortSignal),
  randomFillSync: crypto.randomFillSync,
  connect: net.connect,
  pause: timersPromises.setTimeout,
  turn: timersPromises.setImmediate,
};

/** A virtual timer with the interface of Node's. */
class VirtualTimer {
  event: Planned | undefined;

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }

  hasRef(): boolean {
    return true;
  }

  cancel(): void {
    if (this.event !== undefined) this.event.cancelled = true;
    this.event = undefined;
  }
}

type Callback = (...args: unknown[]) => void;

/** A process's own milliseconds are not quite the true ones. */
function plan(time: VirtualTime, delayMs: number, run: () => void): Planned {
  const owner = time.current;
  const ownMs = delayMs >= 1 ? Math.min(delayMs, 2 ** 31 - 1) : 1;
  return time.after(ownMs / (owner?.rate ?? 1), owner, run);
}

function virtualTimeout(callback: Callback, delayMs?: number, ...args: unknown[]) {
  if (here === undefined) return real.setTimeout(callback, delayMs, ...args);
  const timer = new VirtualTimer();
  timer.event = plan(here.time, delayMs ?? 1, () => callback(...args));
  return timer;
}

function virtualInterval(callback: Callback, delayMs?: number, ...args: unknown[]) {
  if (here === undefined) return real.setInterval(callback, delayMs, ...args);
  const { time } = here;
  const timer = new VirtualTimer();
  const owner = time.current;
  const arm = () => {
    timer.event = time.after((delayMs ?? 1) / (owner?.rate ?? 1), owner, () => {
      const { event } = timer;
      callback(...args);
      if (timer.event === event && event !== undefined) arm();
    });
  };
  arm();
  return timer;
}

function virtualImmediate(callback: Callback, ...args: unknown[]) {
  if (here === undefined) return real.setImmediate(callback, ...args);
  const timer = new VirtualTimer();
  timer.event = here.time.after(0, here.time.current, () => callback(...args));
  return timer;
}

function clear(realClear: (timer: never) => void) {
  return (timer: unknown) => {
    if (timer instanceof VirtualTimer) timer.cancel();
    else realClear(timer as never);
  };
}

interface PauseOptions {
  signal?: AbortSignal;
}

function virtualPause(delayMs?: number, value?: unknown, { signal }: PauseOptions = {}) {
  if (here === undefined) return real.pause(delayMs, value, signal && { signal });
  const { time } = here;
  return new Promise<unknown>((resolve, reject) => {
    const aborted = () => reject(new DOMException("The operation was aborted", "AbortError"));
    if (signal?.aborted === true) return aborted();
    const onAbort = () => {
      event.cancelled = true;
      aborted();
    };

    const event = plan(time, delayMs ?? 1, () => {
      signal?.removeEventListener("abort", onAbort);
      resolve(value);
    });
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

function virtualTurn(value?: unknown): Promise<unknown> {
  const { time } = here ?? {};
  if (time === undefined) return real.turn(value);
  return new Promise((resolve) => time.after(0, time.current, () => resolve(value)));
}

function virtualAbortAfter(delayMs: number): AbortSignal {
  if (here === undefined) return real.abortAfter(delayMs);
  const controller = new AbortController();
  plan(here.time, delayMs, () => {
    controller.abort(new DOMException("The operation timed out", "TimeoutError"));
  });
  return controller.signal;
}

/** Node keeps its own forever if nobody aborts them, and with them the whole schedule. */
function virtualAbortWithAny(signals: Iterable<AbortSignal>): AbortSignal {
  if (here === undefined) return real.abortWithAny([...signals]);
  const controller = new AbortController();
  for (const signal of signals) {
    const abort = () => controller.abort(signal.reason);
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true, signal: controller.signal });
  }
  return controller.signal;
}

function chance(): number {
  if (here === undefined) return real.random.call(Math);
  return (here.time.current?.random ?? here.random).next();
}

function virtualFill(bytes: NodeJS.ArrayBufferView): NodeJS.ArrayBufferView {
  if (here === undefined) return real.randomFillSync(bytes);
  here.random.fill(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  return bytes;
}

function shownMs(): number {
  const clock = here?.time.current?.clock;
  return here === undefined ? real.dateNow() : (clock?.now() ?? here.time.date()).getTime();
}

/** To be called once, before any code of the product is loaded. */
export function installVirtualGlobals(): void {
  Object.assign(globalThis, {
    setTimeout: virtualTimeout,
    setInterval: virtualInterval,
    setImmediate: virtualImmediate,
    clearTimeout: clear(real.clearTimeout),
    clearInterval: clear(real.clearInterval),
    clearImmediate: clear(real.clearImmediate),
  });
  Math.random = chance;
  Date.now = shownMs;
  performance.now = () =>
    here === undefined
      ? real.performanceNow()
      : (here.time.current?.clock.monotonicMs() ?? here.time.nowMs);
  AbortSignal.timeout = virtualAbortAfter;
  AbortSignal.any = virtualAbortWithAny;
  Object.assign(timersPromises, { setTimeout: virtualPause, setImmediate: virtualTurn });
  Object.assign(crypto, { randomFillSync: virtualFill });
  Object.assign(net, {
    connect: (options: net.NetConnectOpts, onConnect: () => void) =>
      here === undefined ? real.connect(options, onConnect) : here.connect(options, onConnect),
  });
  syncBuiltinESMExports();
}

export function enter(surroundings: Surroundings): void {
  here = surroundings;
}

export function leave(): void {
  here = undefined;
}
