import { deflateSync } from "node:zlib";
import { GridFSBucket, type Document, type ObjectId } from "mongodb";
import { mailIdOf, type AdoptionRules } from "../../src/store/adoption.ts";
import type { Database } from "../../src/store/database.ts";
import type { ClaimedMail } from "../../src/store/mails.ts";
import { createPolicyBook } from "../../src/policy/effective.ts";
import { parsePolicyYaml } from "../../src/policy/yaml.ts";
import type { SourceConfig } from "../../src/store/source-config.ts";
import type { TestDatabase } from "./test-database.ts";

/** example.net is a tenant's domain; the tenant also has networks. */
export const policyBook = createPolicyBook(
  parsePolicyYaml(
    "tenants: { acme: { domains: [example.net], networks: [192.0.2.0/24, 198.51.100.0/24] } }",
    "test.yaml",
  ),
);

export const rules: AdoptionRules = {
  book: () => policyBook,
  hostname: "mx.example.com",
  maxMailBytes: 50_000_000,
};
export const taking = { limit: 100, owner: "dispatcher-1", leaseMs: 10_000 };

type Stores = Pick<Database, "mails" | "sources">;

/**
 * What a dispatcher does with a source: takes records on, reads each, and writes what it becomes.
 */
export async function adopt({ mails, sources }: Stores, source: SourceConfig, limit = 100) {
  const { stubs, dead, more } = await sources.take(source, { ...taking, limit });
  const done = { adopted: 0, dead, more };
  const kinds = await Promise.all(stubs.map((stub) => readStub({ mails, sources }, source, stub)));
  for (const kind of kinds) if (kind === "adopted" || kind === "dead") done[kind] += 1;
  return done;
}

export async function readStub(
  { mails, sources }: Stores,
  source: SourceConfig,
  { mail, holding }: ClaimedMail,
) {
  const { kind, change } = await sources.read(source, mail, rules);
  const released =
    change.releaseLease === true
      ? change
      : { ...change, set: { ...change.set, dueAt: mail.receivedAt }, releaseLease: true };
  const written = await mails.write(holding, released);
  if (written === "stale") return written;
  const durable = await mails.get(mail._id);
  if ((kind === "adopted" || kind === "dead") && durable !== undefined)
    await sources.mark(source, durable);
  return kind;
}

let run = 0;

export const rawMail = Buffer.from("Subject: hello\nMessage-ID: <m1@example.org>\n\nBody\nno end");
export const canonicalMail =
  "Subject: hello\r\nMessage-ID: <m1@example.org>\r\n\r\nBody\r\nno end\r\n";

export function nativeRecord(given: Document = {}): Document {
  return {
    state: "incoming",
    smtp: {
      mailFrom: "ann@example.org",
      rcptTo: ["bob@example.net"],
      client: { address: "192.0.2.7", name: "host.example.org", helo: "helo.example.org" },
      params: { body: "8BITMIME" },
    },
    body: rawMail,
    receivedAt: new Date(1_000),
    ...given,
  };
}

/** Sources in a test's database, records in them, and their adoption. */
export function useSources(database: () => TestDatabase) {
  /** A source with a collection and bucket of its own. */
  function newSource(given: Partial<SourceConfig> = {}): SourceConfig {
    run += 1;
    return {
      name: `source-${run}`,
      db: database().name,
      collection: `inbox${run}`,
      bucket: `fs${run}`,
      form: "native",
      mode: "deliver",
      mark: true,
      outgoing: false,
      networks: [],
      xforwardPeers: [],
      ...given,
    };
  }

  async function putFile(source: SourceConfig, bytes: Buffer): Promise<ObjectId> {
    const bucket = new GridFSBucket(database().client.db(source.db), { bucketName: source.bucket });
    const stream = bucket.openUploadStream("mail");
    await new Promise<void>((resolve, reject) => {
      stream.once("finish", resolve).once("error", reject);
      stream.end(bytes);
    });
    return stream.id;
  }

  /** The record that mongo-mail-server writes, with its GridFS file. */
  async function mongoMailServerRecord(
    source: SourceConfig,
    given: Document = {},
  ): Promise<Document> {
    const encoded = Buffer.from(deflateSync(rawMail).toString("base64"), "latin1");
    return {
      store_key: "k".repeat(64),
      sender: "ann@example.org",
      rcpt: ["bob@example.net", "eve@example.net"],
      rcpt_count: 2,
      client_address: "192.0.2.9",
      xforward: { NAME: "host.example.org", ADDR: "192.0.2.7", HELO: "helo.example.org" },
      server: "127.0.0.1",
      received: new Date(2_000),
      rcpt_refused: {},
      message: await putFile(source, encoded),
      ...given,
    };
  }

  const collectionOf = ({ db, collection }: SourceConfig) =>
    database().client.db(db).collection(collection);

  async function adoptAll(source: SourceConfig, records: Document[], limit = 100) {
    await collectionOf(source).insertMany(records);
    return adopt(database().store, source, limit);
  }

  async function mailOf(source: SourceConfig, record: Document) {
    const mail = await database().store.mails.get(mailIdOf(source, record._id));
    if (mail === undefined) throw new Error("not adopted");
    return mail;
  }

  return { newSource, putFile, mongoMailServerRecord, collectionOf, adoptAll, mailOf };
}
