import { MongoNetworkError, MongoServerError } from "mongodb";
import type { Connection } from "./connection.ts";
import { matches } from "./document.ts";
import type { Entry } from "./replica-set.ts";

type Fields = Record<string, unknown>;

/** Reports what the majority got, a little later; sometimes much later, sometimes never. */
export class VirtualChangeStream {
  readonly #connection: Connection;
  readonly #name: string;
  readonly #filter: Fields;
  #from: number;
  readonly #arrived: { change: Fields; place: number }[] = [];
  #wanted: PromiseWithResolvers<Fields> | undefined;
  #broken: Error | undefined;
  #lastDueMs = 0;
  #unwatch: (() => void) | undefined;
  resumeToken: number | undefined;

  constructor(connection: Connection, name: string, pipeline: Fields[], resumeAfter?: number) {
    this.#connection = connection;
    this.#name = name;
    this.#filter = (pipeline[0] as { $match: Fields }).$match;
    this.#from = resumeAfter ?? -1;
    this.resumeToken = resumeAfter;
  }

  /** The first call opens it. */
  async tryNext(): Promise<Fields | null> {
    const { set } = this.#connection.deps;
    await this.#connection.ask("watch", () => {
      if (this.#from < 0) this.#from = set.committed;
      const missed = set.since(this.#from);
      missed.forEach((entry, index) => this.#tell(entry, this.#from + index + 1));
      this.#unwatch = set.watch({
        onCommitted: (entry, place) => this.#tell(entry, place),
        onPrimaryLost: () => {
          const { deps, process } = this.#connection;
          deps.time.after(1, process, () => this.#break(new MongoNetworkError("primary lost")));
        },
      });
    });
    this.resumeToken = this.#from;
    return null;
  }

  next(): Promise<Fields> {
    if (this.#broken !== undefined) return Promise.reject(this.#broken);
    this.#wanted = Promise.withResolvers<Fields>();
    const { promise } = this.#wanted;
    this.#hand();
    return promise;
  }

  close(): Promise<void> {
    this.#unwatch?.();
    this.#break(new MongoNetworkError("the stream is closed"));
    return Promise.resolve();
  }

  #tell(entry: Entry, place: number): void {
    if (entry.collection !== this.#name) return;
    const documentKey = { _id: entry.id };
    const change =
      entry.kind === "update"
        ? {
            operationType: "update",
            documentKey,
            updateDescription: { updatedFields: entry.fields },
          }
        : { operationType: entry.kind, documentKey, fullDocument: entry.after };
    if (!matches(change, this.#filter)) return;
    const { process, deps } = this.#connection;
    const delayMs = deps.streamDelayMs(process);
    const { time } = deps;
    this.#lastDueMs = Math.max(this.#lastDueMs, time.nowMs + (delayMs ?? 0));
    time.at(this.#lastDueMs, process, () => {
      if (delayMs === undefined) {
        this.resumeToken = undefined;
        this.#break(new MongoServerError({ code: 286, errmsg: "the resume point is gone" }));
        return;
      }
      this.#arrived.push({ change, place });
      this.#hand();
    });
  }

  #hand(): void {
    if (this.#wanted === undefined) return;
    const first = this.#arrived.shift();
    if (first === undefined) return;
    this.resumeToken = first.place;
    this.#wanted.resolve(first.change);
    this.#wanted = undefined;
  }

  #break(error: Error): void {
    this.#broken ??= error;
    this.#wanted?.reject(error);
    this.#wanted = undefined;
  }
}
