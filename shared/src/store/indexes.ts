import type { Db, IndexSpecification, CreateIndexesOptions } from "mongodb";
import { durable } from "./connection.ts";
import { unendedBeforeAlone } from "./poison.ts";

interface Index {
  collection: string;
  key: IndexSpecification;
  options?: CreateIndexesOptions;
  /** The queries that need it. */
  serves: string;
}

/** The removal by the database itself comes this much after ours, which takes the body along. */
const ttlGraceSeconds = 3_600;

/** Every index of our own database. `docs/records.md` repeats what they serve. */
export const indexes: readonly Index[] = [
  {
    collection: "mails",
    key: { state: 1, next: 1, dueAt: 1, receivedAt: 1 },
    serves: "claims, expired leases, routes and counts of what waits, the backlog, find by state",
  },
  {
    collection: "mails",
    key: { lookup: 1, receivedAt: -1 },
    serves: "find by recipient, sender, Message-ID",
  },
  {
    collection: "mails",
    key: { unended: 1 },
    options: { partialFilterExpression: { unended: { $gte: unendedBeforeAlone } } },
    serves: "suspects (the poison lane)",
  },
  { collection: "mails", key: { receivedAt: -1 }, serves: "find by time" },
  {
    collection: "mails",
    key: { "recipients.report": 1, receivedAt: -1 },
    options: { partialFilterExpression: { "recipients.report": "none" } },
    serves: "find mail of which nobody was told",
  },
  { collection: "mails", key: { "body.id": 1 }, serves: "whether a body is still needed" },
  {
    collection: "mails",
    key: { "enriched.body.id": 1 },
    options: { sparse: true },
    serves: "whether a changed body is still needed",
  },
  {
    collection: "mails",
    key: { parentId: 1 },
    options: { sparse: true },
    serves: "children of a split",
  },
  {
    collection: "mails",
    key: { expireAt: 1 },
    options: { sparse: true, expireAfterSeconds: ttlGraceSeconds },
    serves: "retention",
  },
  { collection: "bodies", key: { createdAt: 1, _id: 1 }, serves: "the walk for orphans" },
  { collection: "bodies.files", key: { uploadDate: 1, _id: 1 }, serves: "the walk for orphans" },
  {
    collection: "bodies.chunks",
    key: { files_id: 1, n: 1 },
    options: { unique: true },
    serves: "GridFS reads",
  },
  {
    collection: "plans",
    key: { expireAt: 1 },
    options: { sparse: true, expireAfterSeconds: ttlGraceSeconds },
    serves: "plans that no record can need any more",
  },
  {
    collection: "policies",
    key: { revision: -1 },
    serves: "whether the policies are others than before",
  },
  {
    collection: "actors",
    key: { at: 1 },
    options: { expireAfterSeconds: 86_400 },
    serves: "status: which services have reported recently",
  },
];

/** Creates what is missing; an index that is there already costs one look. */
export async function createIndexes(db: Db): Promise<void> {
  const collections = new Set(indexes.map(({ collection }) => collection));
  for (const name of collections) {
    const specs = indexes
      .filter(({ collection }) => collection === name)
      .map(({ key, options }) => ({ key: key as Record<string, 1 | -1>, ...options }));
    await db.collection(name, durable).createIndexes(specs);
  }
}
