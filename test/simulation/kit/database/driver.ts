import { BSON, type MongoClient } from "mongodb";
import type { VirtualProcess } from "../virtual-time.ts";
import { Connection, type DriverDeps, type InsertModel, type Write } from "./connection.ts";
import { Refusal, type Doc } from "./document.ts";
import type { Query, ReplicaSet } from "./replica-set.ts";
import { VirtualChangeStream } from "./virtual-stream.ts";

type Fields = Record<string, unknown>;

/**
 * The MongoDB driver as our stores use it, for one process. Errors are of the driver's own classes,
 * in the cases in which the driver throws them.
 */
export function connectDriver(deps: DriverDeps, process: VirtualProcess): MongoClient {
  const connection = new Connection(deps, process);
  const client = { options: { socketTimeoutMS: 45_000 } };
  const db = () => ({
    client,
    collection: (name: string) => new VirtualCollection(connection, name),
    command: () =>
      connection.ask("hello", () => {
        const { set, maxWireVersion = 25 } = deps;
        return { localTime: set.now(), maxWireVersion };
      }),
  });
  const bulkWrite = (models: InsertModel[]) => insertInOrder(connection, models);
  return { db, bulkWrite } as unknown as MongoClient;
}

interface Statement {
  filter: Fields;
  update: Fields | Fields[];
}

interface BulkOperation {
  updateOne?: Statement;
  updateMany?: Statement;
}

function collectionIn(namespace: string): string {
  return namespace.slice(namespace.indexOf(".") + 1);
}

/** One after the other over several collections; what is refused ends it. */
function insertInOrder(connection: Connection, given: InsertModel[]): Promise<object> {
  const { set, jointlyOf, onRefused } = connection.deps;
  const by = connection.process;
  const models = jointlyOf?.(by, given) ?? given;
  const steps = models.map(({ namespace, document }, index) => (write: Write<object>) => {
    if (write.refused !== undefined) return;
    const name = collectionIn(namespace);
    if (set.insert(name, document, by)) return;
    write.refused = [{ index, ...duplicate }];
    onRefused?.(by, name, document);
  });
  return connection.write("bulk of the client", steps, {});
}

const duplicate = { code: 11_000, errmsg: "E11000 duplicate key" };

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
    const toArray = () =>
      this.#connection.ask(`find ${this.#name}`, (isDeposed) => {
        if (isHasty) return this.#set.findLocal(this.#name, filter, query);
        if (isDeposed) return this.#set.findDeposed(this.#name, filter, query);
        return this.#set.find(this.#name, filter, query);
      });
    /** One by one; with `raw` as bytes. */
    async function* each() {
      for (const doc of await toArray()) yield query.raw === true ? BSON.serialize(doc) : doc;
    }
    return { toArray, [Symbol.asyncIterator]: each };
  }

  /**
   * Counts, and finds the smallest `dueAt`: the only pipeline that a service of the simulation
   * runs.
   */
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

  createIndex(): Promise<string> {
    return this.#connection.ask("createIndex", () => this.#name);
  }

  async distinct(field: string, filter: Fields): Promise<unknown[]> {
    const found = await this.find(filter).toArray();
    return [...new Set(found.map((doc) => doc[field]))];
  }

  insertMany(docs: Fields[]): Promise<{ insertedCount: number }> {
    const by = this.#connection.process;
    const value = { insertedCount: 0 };
    const steps = docs.map((doc, index) => (write: Write<typeof value>) => {
      if (this.#set.insert(this.#name, doc, by)) write.value.insertedCount += 1;
      else {
        (write.refused ??= []).push({ index, ...duplicate });
        this.#connection.deps.onRefused?.(by, this.#name, doc);
      }
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
    const step = this.#upserting<typeof value>(filter, options.upsert, (write) => {
      write.value.matchedCount = this.#set.update(this.#name, filter, update, { ...options, by });
    });
    const how = { hasty: this.#isHasty(filter), once: options.many };
    return this.#connection.write(`update ${this.#name}`, [step], value, how);
  }

  /** The document as the update has left it; null if none matched. */
  async findOneAndUpdate(given: Fields, update: Fields): Promise<Doc | null> {
    const filter = this.#filter(given);
    const by = this.#connection.process;
    const value: { document: Doc | null } = { document: null };
    const step = (write: Write<typeof value>) => {
      const matched = this.#set.update(this.#name, filter, update, { many: false, by });
      const [after] = this.#set.findLocal(this.#name, { _id: filter._id }, { limit: 1 });
      write.value.document = matched > 0 ? (after ?? null) : null;
    };
    const how = { hasty: this.#isHasty(filter) };
    const { document } = await this.#connection.write(`update ${this.#name}`, [step], value, how);
    return document;
  }

  /**
   * If the first try of an upsert has inserted what the second did not find, the second is refused.
   */
  #upserting<T>(filter: Fields, upsert = false, step: (write: Write<T>) => void) {
    let isInserted = false;
    return (write: Write<T>) => {
      if (isInserted) {
        write.refused = [{ index: 0, ...duplicate }];
        return;
      }
      isInserted = upsert && this.#set.findLocal(this.#name, filter).length === 0;
      step(write);
    };
  }

  bulkWrite(operations: BulkOperation[]): Promise<{ matchedCount: number }> {
    const by = this.#connection.process;
    const value = { matchedCount: 0 };
    const steps = operations.flatMap(({ updateOne, updateMany }, index) => {
      const one = updateOne ?? updateMany;
      if (one === undefined) throw new Error("a bulk of ours holds updates only");
      // Of a statement for many, some may be done and others not.
      const ids = (one.filter._id as { $in?: string[] } | undefined)?.$in;
      const filters = ids?.map((_id) => ({ ...one.filter, _id })) ?? [one.filter];
      return filters.map((filter) => (write: Write<typeof value>) => {
        const many = updateMany !== undefined;
        if (write.refused?.some((refusal) => refusal.index === index) === true) return;
        try {
          const asked = this.#filter(filter);
          write.value.matchedCount += this.#set.update(this.#name, asked, one.update, { many, by });
        } catch (error) {
          if (!(error instanceof Refusal)) throw error;
          (write.refused ??= []).push({ index, code: error.code, errmsg: error.message });
        }
      });
    });
    const once = operations.some(({ updateMany }) => updateMany !== undefined);
    return this.#connection.write(`bulk ${this.#name}`, steps, value, { once });
  }

  replaceOne(given: Fields, doc: Fields, { upsert = false } = {}) {
    const filter = this.#filter(given);
    const value = { matchedCount: 0 };
    const by = this.#connection.process;
    const step = this.#upserting<typeof value>(filter, upsert, (write) => {
      write.value.matchedCount = this.#set.replace(this.#name, filter, doc, { upsert, by });
    });
    return this.#connection.write(`replace ${this.#name}`, [step], value);
  }

  deleteOne(filter: Fields) {
    const value = { deletedCount: 0 };
    const step = (write: Write<typeof value>) => {
      write.value.deletedCount = this.#set.delete(this.#name, filter, this.#connection.process);
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
