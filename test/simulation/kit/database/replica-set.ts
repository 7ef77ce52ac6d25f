import type { VirtualProcess, VirtualTime } from "../virtual-time.ts";
import { piped } from "./pipeline.ts";
import { matches, ordered, stored, updated, valueAt, type Doc } from "./document.ts";

type Fields = Record<string, unknown>;

/** One change of one document, in the order of the primary's log. */
export interface Entry {
  collection: string;
  id: string;
  kind: "insert" | "update" | "replace" | "delete";
  before: Doc | undefined;
  after: Doc | undefined;
  /** The set fields by (dotted) path, as a change stream reports them. */
  fields: Fields;
  /** Who asked for it; undefined: the schedule itself. */
  by: VirtualProcess | undefined;
}

export interface Watcher {
  onCommitted: (entry: Entry, place: number) => void;
  onPrimaryLost: () => void;
}

export interface Query {
  sort?: Record<string, 1 | -1>;
  limit?: number;
  raw?: boolean;
}

type Collections = Map<string, Map<string, Doc>>;

interface Waiter {
  place: number;
  settle: (reached: boolean) => void;
}

/**
 * A replica set as a client may know it: a primary with a log, a majority that follows a little
 * later, and elections after which what the majority did not have is gone. Reads see the majority's
 * state; writes are judged by the primary's.
 */
export class ReplicaSet {
  readonly #time: VirtualTime;
  readonly #local: Collections = new Map();
  readonly #majority: Collections = new Map();
  readonly #log: Entry[] = [];
  #committed = 0;
  #waiters: Waiter[] = [];
  readonly #watchers = new Set<Watcher>();
  readonly #lagMs: () => number;
  /** Rises with each election: nobody answers what was asked of an older primary. */
  term = 1;
  /** When there will be a primary. */
  primaryFromMs = 0;
  /** Nothing reaches the majority before this. */
  stalledUntilMs = 0;
  /** Until then a deposed primary still answers reads, with the old state. */
  deposedUntilMs = 0;
  #deposed: Collections = new Map();
  /** How far the primary's wall clock is from true time. */
  clockSkewMs = 0;
  onApplied: (entry: Entry) => void = () => undefined;
  onCommitted: (entry: Entry) => void = () => undefined;
  onRolledBack: (entry: Entry) => void = () => undefined;

  constructor(time: VirtualTime, lagMs: () => number) {
    this.#time = time;
    this.#lagMs = lagMs;
  }

  now(): Date {
    return new Date(this.#time.date().getTime() + this.clockSkewMs);
  }

  get logEnd(): number {
    return this.#log.length;
  }

  get committed(): number {
    return this.#committed;
  }

  /** The documents that the majority has. */
  majority(collection: string): ReadonlyMap<string, Doc> {
    return collectionOf(this.#majority, collection);
  }

  /** The documents that the primary has. */
  local(collection: string): ReadonlyMap<string, Doc> {
    return collectionOf(this.#local, collection);
  }

  find(collection: string, filter: Fields, query: Query = {}, level = this.#majority): Doc[] {
    const docs = collectionOf(level, collection);
    const byId = typeof filter._id === "string" ? docs.get(filter._id) : undefined;
    const candidates = typeof filter._id === "string" ? (byId ? [byId] : []) : docs.values();
    const found: Doc[] = [];
    for (const doc of candidates) if (matches(doc, filter)) found.push(doc);
    const [field] = Object.keys(query.sort ?? {});
    if (field !== undefined) {
      const sign = query.sort?.[field] ?? 1;
      found.sort((a, b) => sign * compared(valueAt(a, field), valueAt(b, field)));
    }
    return query.limit === undefined ? found : found.slice(0, query.limit);
  }

  /** The view of the last primary that was lost, which does not know it yet. */
  findDeposed(collection: string, filter: Fields, query: Query = {}): Doc[] {
    return this.find(collection, filter, query, this.#deposed);
  }

  findLocal(collection: string, filter: Fields, query: Query = {}): Doc[] {
    return this.find(collection, filter, query, this.#local);
  }

  /** False if the id already exists. */
  insert(collection: string, given: Fields, by: VirtualProcess | undefined): boolean {
    const doc = stored(given) as Doc;
    if (collectionOf(this.#local, collection).has(doc._id)) return false;
    this.#append({
      collection,
      id: doc._id,
      kind: "insert",
      before: undefined,
      after: doc,
      fields: doc,
      by,
    });
    return true;
  }

  /**
   * Returns how many matched.
   * @throws Refusal
   */
  update(
    collection: string,
    filter: Fields,
    update: Fields | Fields[],
    options: { many: boolean; upsert?: boolean; by: VirtualProcess | undefined },
  ): number {
    const found = this.findLocal(collection, filter, options.many ? {} : { limit: 1 });
    if (found.length === 0 && options.upsert === true && !Array.isArray(update)) {
      const { doc } = updated({ _id: String(filter._id) }, update, true);
      this.insert(collection, doc, options.by);
    }
    for (const before of found) {
      const { doc: after, fields } = Array.isArray(update)
        ? piped(before, update)
        : updated(before, update);
      this.#append({
        collection,
        id: before._id,
        kind: "update",
        before,
        after,
        fields,
        by: options.by,
      });
    }
    return found.length;
  }

  replace(
    collection: string,
    filter: Fields,
    given: Fields,
    options: { upsert: boolean; by: VirtualProcess | undefined },
  ): number {
    const [before] = this.findLocal(collection, filter, { limit: 1 });
    if (before === undefined && !options.upsert) return 0;
    const id = before?._id ?? String(filter._id);
    const after = { ...(stored(given) as Fields), _id: id };
    this.#append({
      collection,
      id,
      kind: "replace",
      before,
      after,
      fields: after,
      by: options.by,
    });
    return before === undefined ? 0 : 1;
  }

  delete(collection: string, filter: Fields, by: VirtualProcess | undefined): number {
    const found = this.findLocal(collection, filter);
    for (const before of found) {
      this.#append({
        collection,
        id: before._id,
        kind: "delete",
        before,
        after: undefined,
        fields: {},
        by,
      });
    }
    return found.length;
  }

  /**
   * Calls back with true once the majority has the log as it is now, or with false if the primary
   * was lost before.
   */
  whenCommitted(settle: (reached: boolean) => void): void {
    const place = this.#log.length;
    if (place <= this.#committed) settle(true);
    else this.#waiters.push({ place, settle });
  }

  /** Calls back for each entry that the majority gets, from now on. */
  watch(watcher: Watcher): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  /** What the majority got since a position in the log. */
  since(place: number): readonly Entry[] {
    return this.#log.slice(place, this.#committed);
  }

  /**
   * The primary is lost. Of what the majority does not have, the new primary has the first `kept`
   * entries; the rest never happened.
   */
  fail(outageMs: number, kept: number): void {
    const end = Math.min(this.#log.length, this.#committed + kept);
    this.#deposed = new Map([...this.#majority].map(([name, docs]) => [name, new Map(docs)]));
    while (this.#log.length > end) {
      const entry = this.#log.pop() as Entry;
      put(this.#local, entry.collection, entry.id, entry.before);
      this.onRolledBack(entry);
    }
    this.term += 1;
    this.primaryFromMs = Math.max(this.primaryFromMs, this.#time.nowMs + outageMs);
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const { settle } of waiters) settle(false);
    for (const watcher of this.#watchers) watcher.onPrimaryLost();
    this.#commitLater();
  }

  #append(entry: Entry): void {
    this.#log.push(entry);
    put(this.#local, entry.collection, entry.id, entry.after);
    this.onApplied(entry);
    this.#commitLater();
  }

  #commitLater(): void {
    const { term } = this;
    const place = this.#log.length;
    const fromMs = Math.max(this.#time.nowMs, this.stalledUntilMs, this.primaryFromMs);
    this.#time.at(fromMs + this.#lagMs(), undefined, () => {
      if (term === this.term) this.#commit(place);
    });
  }

  #commit(place: number): void {
    if (this.stalledUntilMs > this.#time.nowMs) {
      this.#commitLater();
      return;
    }
    while (this.#committed < place) {
      const entry = this.#log[this.#committed] as Entry;
      put(this.#majority, entry.collection, entry.id, entry.after);
      this.#committed += 1;
      this.onCommitted(entry);
      for (const watcher of this.#watchers) watcher.onCommitted(entry, this.#committed);
    }
    const reached = this.#waiters.filter((waiter) => waiter.place <= this.#committed);
    if (reached.length === 0) return;
    this.#waiters = this.#waiters.filter((waiter) => waiter.place > this.#committed);
    for (const { settle } of reached) settle(true);
  }
}

function collectionOf(collections: Collections, name: string): Map<string, Doc> {
  let docs = collections.get(name);
  if (docs === undefined) {
    docs = new Map();
    collections.set(name, docs);
  }
  return docs;
}

function put(collections: Collections, name: string, id: string, doc: Doc | undefined): void {
  const docs = collectionOf(collections, name);
  if (doc === undefined) docs.delete(id);
  else docs.set(id, doc);
}

function compared(a: unknown, b: unknown): number {
  const [x, y] = [ordered(a), ordered(b)];
  if (x === y) return 0;
  if (x === undefined) return -1;
  return y === undefined || x > y ? 1 : -1;
}
