import {
  MongoBulkWriteError,
  MongoNetworkError,
  MongoServerError,
  MongoServerSelectionError,
  MongoWriteConcernError,
  type BulkWriteResult,
  type MongoError,
} from "mongodb";
import type { VirtualProcess, VirtualTime } from "../virtual-time.ts";
import type { ReplicaSet } from "./replica-set.ts";

type Fields = Record<string, unknown>;

/** What becomes of one request on its way. */
export interface Fate {
  /** Milliseconds to the server and back. */
  toMs: number;
  backMs: number;
  /**
   * `lost`: it never got there. `unanswered`: done, but the connection broke. `partly`: only the
   * first half of a bulk was done before that. In each case the client sees a network error.
   * `twice`: the driver repeats the write, and the first try is done late, next to the second,
   * whose answer the client gets. `late`: it hangs at the server and is done long after the client
   * has given it up and perhaps asked again.
   */
  kind: "ok" | "lost" | "unanswered" | "partly" | "twice" | "late";
  /** With `late`: for this many milliseconds. */
  lateMs?: number;
  /**
   * With `twice`: the share of the operations that the first try does before the second gets to
   * them.
   */
  firstTakes?: number;
  /** A read goes to a primary that has been deposed and does not know it. */
  isDeposed?: boolean;
  /** The asking process dies when the server has done it, before it learns of that. */
  killsAsker?: boolean;
}

/** One of a command for several collections. */
export interface InsertModel {
  /** `database.collection` */
  namespace: string;
  document: Fields;
}

export interface DriverDeps {
  time: VirtualTime;
  set: ReplicaSet;
  fateOf: (process: VirtualProcess, what: string) => Fate;
  /** Milliseconds until a stream reports a change; undefined: this stream breaks and forgets. */
  streamDelayMs: (process: VirtualProcess) => number | undefined;
  /** A planted bug: these writes do not wait for the majority, and are also read back that way. */
  isHasty?: (process: VirtualProcess, filter: Fields) => boolean;
  /** A planted bug: what is asked in place of this filter. */
  filterOf?: (process: VirtualProcess, filter: Fields) => Fields;
  /** Of the server's version: from 25 on it has one command for several collections. Default: 25. */
  maxWireVersion?: number;
  /** A planted bug: what is inserted instead of these, in their order. */
  jointlyOf?: (process: VirtualProcess, models: InsertModel[]) => InsertModel[];
  /** A planted bug: told about each document that was refused because its id exists. */
  onRefused?: (process: VirtualProcess, collection: string, doc: Fields) => void;
}

/** As set on every handle of ours (connection.ts). */
const selectionMs = 5_000;
const majorityWithinMs = 10_000;

/** A write under way: its result, and which of its operations the server refused. */
export interface Write<T> {
  value: T;
  /** Errors of single operations (by their place), which do not undo the others. */
  refused?: { index: number; code: number; errmsg: string }[];
}

/** One process's way to the replica set. */
export class Connection {
  readonly deps: DriverDeps;
  readonly process: VirtualProcess;
  /** A client that has heard of a newer primary no longer asks an older one. */
  #term = 0;

  constructor(deps: DriverDeps, process: VirtualProcess) {
    this.deps = deps;
    this.process = process;
  }

  ask<T>(what: string, run: (isDeposed: boolean) => T): Promise<T> {
    return this.#call(what, (answer, { isDeposed = false }) => {
      const value = run(isDeposed && this.#term < this.deps.set.term);
      answer(() => value);
    });
  }

  /**
   * A write that counts once the majority has it. `steps` are done in order, and some may be cut
   * off. `once`: the driver does not repeat it, like everything that may touch many documents.
   */
  write<T extends object>(
    what: string,
    steps: ((write: Write<T>) => void)[],
    value: T,
    how: { hasty?: boolean; once?: boolean } = {},
  ) {
    const { hasty = false, once = false } = how;
    return this.#call<T>(what, (answer, { kind, firstTakes = 0 }) => {
      const write: Write<T> = { value: { ...value } };
      const done = kind === "partly" ? steps.slice(0, steps.length >> 1) : steps;
      const first: Write<T> = { value: { ...value } };
      const taken = kind === "twice" && !once ? Math.round(firstTakes * done.length) : 0;
      for (const step of done.slice(0, taken)) step(first);
      for (const step of done) step(write);
      const outcome = () => {
        if (write.refused === undefined) return write.value;
        throw bulkError(what, 11_000, "a write was refused", write);
      };
      if (hasty) {
        answer(outcome);
        return;
      }
      const late = this.deps.time.after(majorityWithinMs, undefined, () => {
        answer(() => {
          throw bulkError(what, 64, "waiting for replication timed out", write);
        });
      });
      this.deps.set.whenCommitted((reached) => {
        if (late.cancelled) return;
        late.cancelled = true;
        answer(reached ? outcome : () => this.#broken(what));
      });
    });
  }

  /** The driver wraps the error that ends a bulk write. */
  #broken(what: string): never {
    throw wrapped(what, new MongoNetworkError(`${this.process.name}: connection closed`));
  }

  /** The way there, the wait for a primary, and the way back. `serve` runs at the server. */
  #call<T>(
    what: string,
    serve: (answer: (outcome: () => T) => void, fate: Fate) => void,
  ): Promise<T> {
    const { time, set, fateOf } = this.deps;
    const { process } = this;
    const fate = fateOf(process, what);
    return new Promise((resolve, reject) => {
      const answer = (outcome: () => T) => {
        time.after(fate.backMs, process, () => {
          try {
            resolve(outcome());
          } catch (error) {
            reject(error instanceof Error ? error : new Error(String(error)));
          }
        });
      };
      const arrive = (giveUpAtMs: number) => {
        if (time.nowMs < set.primaryFromMs) {
          const isTooLong = set.primaryFromMs > giveUpAtMs;
          time.at(Math.min(giveUpAtMs, set.primaryFromMs), undefined, () => {
            if (isTooLong) answer(() => noPrimary(what));
            else arrive(giveUpAtMs);
          });
          return;
        }
        if (fate.kind === "lost") {
          answer(() => this.#broken(what));
          return;
        }
        if (fate.kind === "late") {
          const { term } = set;
          time.after(fate.lateMs ?? 0, undefined, () => {
            // What a lost primary had under way is lost with it.
            if (set.term === term) serve(() => undefined, fate);
          });
          answer(() => this.#broken(what));
          return;
        }
        if (fate.isDeposed !== true) this.#term = set.term;
        serve((outcome) => {
          if (fate.killsAsker === true) process.end();
          const isHeard = fate.kind === "ok" || fate.kind === "twice";
          answer(isHeard ? outcome : () => this.#broken(what));
        }, fate);
      };
      time.after(fate.toMs, undefined, () => arrive(time.nowMs + selectionMs));
    });
  }
}

/** Nobody asks a failed bulk write for its counts. */
const noResult = { getWriteConcernError: () => undefined } as unknown as BulkWriteResult;

function noPrimary(what: string): never {
  throw wrapped(what, new MongoServerSelectionError("no primary", {} as never));
}

function isBulk(what: string): boolean {
  return what.startsWith("bulk") || what.startsWith("insert");
}

function wrapped(what: string, error: MongoError): Error {
  return isBulk(what) ? new MongoBulkWriteError(error, noResult) : error;
}

function bulkError(what: string, code: number, message: string, write: Write<unknown>): Error {
  const { refused = [] } = write;
  if (!isBulk(what)) {
    if (refused.length > 0) return new MongoServerError({ code, errmsg: message });
    const writeConcernError = { code, errmsg: message } as never;
    return new MongoWriteConcernError({ ok: 1, writeConcernError });
  }
  const writeConcernError = { code, errmsg: message };
  const result = { getWriteConcernError: () => writeConcernError } as unknown as BulkWriteResult;
  const isRefusal = refused.length > 0;
  const error = { message, code, writeErrors: refused as never };
  return new MongoBulkWriteError(error, isRefusal ? noResult : result);
}
