import type { MongoClient } from "mongodb";
import type { VirtualProcess } from "../virtual-time.ts";
import { Connection, type DriverDeps, type Write } from "./connection.ts";
import { Refusal, type Doc } from "./document.ts";
import type { Query, ReplicaSet } from "./replica-set.ts";
import { VirtualChangeStream } from "./virtual-stream.ts";

type Fields = Record<string, unknown>;

/**
 * The MongoDB driver as our stores use it, for one process. Errors are the driver's own classes, in
 * the cases in which the driver throws them.
 */
export function connectDriver(deps: DriverDeps, process: VirtualProcess): MongoClient {
  const connection = new Connection(deps, process);
  const client = { options: { socketTimeoutMS: 45_000 } };
  const db = () => ({
    client,
    collection: (name: string) => new VirtualCollection(connection, name),
    command: () => connection.ask("hello", () => ({ localTime: deps.set.now() })),
  });
  return { db } as unknown as MongoClient;
}

interface BulkOperation {
  updateOne?: { filter: Fields; update: Fields };
  updateMany?: { filter: Fields; update: Fields };
}

class VirtualCollection {
  readonly #connection: Connection;
  readonly #set: ReplicaSet;
  readonly #name: string;

  constructor(connection: Connection, name: string) {
    this.#connection = connection;
    this.#set = connection.deps.set;
    this.#name = name;
  }

  find(given: Fields, query: Query = {}) {
    const filter = this.#filter(given);
    const isHasty = this.#isHasty(filter);
    return {
      toArray: () =>
        this.#connection.ask(`find ${this.#name}`, (isDeposed) => {
          if (isHasty) return this.#set.findLocal(this.#name, filter, query);
          if (isDeposed) return this.#set.findDeposed(this.#name, filter, query);
          return this.#set.find(this.#name, filter, query);
        }),
    };
  }

  /** Counts, and finds the least `dueAt`: the one pipeline that a service of the simulation runs. */
  aggregate(pipeline: Fields[]) {
    const [match, limit] = pipeline as [{ $match: Fields }, { $limit: number }, unknown];
    return {
      toArray: async () => {
        const found = await this.find(match.$match, { limit: limit.$limit }).toArray();
        const due = found.map((doc) => doc["dueAt"] as Date).sort((a, b) => Number(a) - Number(b));
        return found.length === 0 ? [] : [{ _id: null, count: found.length, dueAt: due[0] }];
      },
    };
  }

  async findOne(filter: Fields, query: Query = {}): Promise<Doc | null> {
    const [found] = await this.find(filter, { ...query, limit: 1 }).toArray();
    return found ?? null;
  }

  async distinct(field: string, filter: Fields): Promise<unknown[]> {
    const found = await this.find(filter).toArray();
    return [...new Set(found.map((doc) => doc[field]))];
  }

  insertMany(docs: Fields[]): Promise<{ insertedCount: number }> {
    const by = this.#connection.process;
    const value = { insertedCount: 0 };
    const steps = docs.map((doc, index) => (write: Write<typeof value>) => {
      if (this.#set.insert(this.#name, doc, by)) value.insertedCount += 1;
      else (write.refused ??= []).push({ index, code: 11_000, errmsg: "E11000 duplicate key" });
    });
    return this.#connection.write(`insert ${this.#name}`, steps, value);
  }

  updateOne(filter: Fields, update: Fields, options: { upsert?: boolean } = {}) {
    return this.#update(filter, update, { ...options, many: false });
  }

  updateMany(filter: Fields, update: Fields) {
    return this.#update(filter, update, { many: true });
  }

  #update(given: Fields, update: Fields, options: { many: boolean; upsert?: boolean }) {
    const filter = this.#filter(given);
    const by = this.#connection.process;
    const value = { matchedCount: 0 };
    const step = () => {
      value.matchedCount = this.#set.update(this.#name, filter, update, { ...options, by });
    };
    const hasty = this.#isHasty(filter);
    return this.#connection.write(`update ${this.#name}`, [step], value, hasty);
  }

  bulkWrite(operations: BulkOperation[]): Promise<{ matchedCount: number }> {
    const by = this.#connection.process;
    const value = { matchedCount: 0 };
    const steps = operations.map((operation, index) => (write: Write<typeof value>) => {
      const one = operation.updateOne ?? operation.updateMany;
      if (one === undefined) throw new Error("a bulk of ours holds updates only");
      const many = operation.updateMany !== undefined;
      const filter = this.#filter(one.filter);
      try {
        value.matchedCount += this.#set.update(this.#name, filter, one.update, { many, by });
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        (write.refused ??= []).push({ index, code: error.code, errmsg: error.message });
      }
    });
    return this.#connection.write(`bulk ${this.#name}`, steps, value);
  }

  replaceOne(filter: Fields, doc: Fields, { upsert = false } = {}) {
    const value = { matchedCount: 0 };
    const by = this.#connection.process;
    const step = () => {
      value.matchedCount = this.#set.replace(this.#name, filter, doc, { upsert, by });
    };
    return this.#connection.write(`replace ${this.#name}`, [step], value);
  }

  deleteOne(filter: Fields) {
    const value = { deletedCount: 0 };
    const step = () => {
      value.deletedCount = this.#set.delete(this.#name, filter, this.#connection.process);
    };
    return this.#connection.write(`delete ${this.#name}`, [step], value);
  }

  watch(pipeline: Fields[], { resumeAfter }: { resumeAfter?: number } = {}) {
    return new VirtualChangeStream(this.#connection, this.#name, pipeline, resumeAfter);
  }

  #filter(filter: Fields): Fields {
    const { deps, process } = this.#connection;
    return deps.filterOf?.(process, filter) ?? filter;
  }

  #isHasty(filter: Fields): boolean {
    const { deps, process } = this.#connection;
    return deps.isHasty?.(process, filter) ?? false;
  }
}
