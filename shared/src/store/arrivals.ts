import {
  MongoClientBulkWriteError,
  MongoServerError,
  type Document,
  type MongoClient,
} from "mongodb";
import type { Clock } from "../clock.ts";
import { messageOf } from "../errors.ts";
import type { Logger } from "../logger.ts";
import type { BodyRef, MailRecord } from "../mail/record.ts";
import { bodyDocument, newBodyRef, ownBytes, type BodyStore } from "./bodies.ts";
import {
  collectionOf,
  durable,
  isPassing,
  isWithoutServer,
  reach,
  type StoredDocument,
} from "./connection.ts";
import { createGroupCommit, type Settled } from "./group-commit.ts";
import { insertAll } from "./inserts.ts";
import { newDocument, ownBody, type WriteDeps } from "./mail-writes.ts";
import type { MailStore } from "./mails.ts";

/** New mail with its body. */
export interface ArrivalStore {
  /**
   * Stores the body under a new id, and then the record that is made for it: in one command where the
   * server has one for both, in two elsewhere. Both are durable then, as `BodyStore.put` and
   * `MailStore.insert` make them, and no record is there before its body. Nothing is begun any more once
   * `signal` has aborted. The caller must leave `raw` as it is until then.
   */
  store(
    raw: Buffer,
    mailOf: (body: BodyRef) => MailRecord,
    signal?: AbortSignal,
  ): Promise<"inserted" | "present">;
}

export interface ArrivalDeps extends Pick<WriteDeps, "plans" | "version"> {
  client: MongoClient;
  /** The database's name. */
  name: string;
  bodies: Pick<BodyStore, "put">;
  mails: Pick<MailStore, "insert">;
  clock: Clock;
  log: Logger;
  lingerMs: number;
}

/** MongoDB 8.0: it has `bulkWrite` over several collections. */
const jointVersion = 25;

interface Arriving {
  body: StoredDocument;
  mail: StoredDocument;
  signal: AbortSignal | undefined;
}

type Inserted = "inserted" | "present";

export function createArrivalStore(deps: ArrivalDeps): ArrivalStore {
  const { bodies, mails, clock, lingerMs } = deps;
  const joint = new JointInserts(deps);
  const group = createGroupCommit<Arriving, Inserted>({
    lingerMs,
    maxItems: 250,
    maxBytes: 12_000_000,
    bytesOf: ({ body }) => Number(body.size),
    keyOf: ({ mail }) => mail._id,
    concurrency: 2,
    commit: (arriving) => reach(() => joint.insert(arriving)),
  });
  return {
    async store(raw, mailOf, signal) {
      const ref = newBodyRef(raw);
      if (ref.form === "document" && (await joint.isOffered())) {
        const body = bodyDocument(ref, raw, clock.now());
        return group.add({ body, mail: await newDocument(mailOf(ref), deps), signal });
      }
      const mail = mailOf(await bodies.put(raw));
      signal?.throwIfAborted();
      return mails.insert(mail);
    },
  };
}

/** Bodies and records in one ordered command, the bodies first. */
class JointInserts {
  readonly #deps: ArrivalDeps;
  readonly #collections: { bodies: Collected; mails: Collected };
  /** Undefined: not asked yet, or not answered. */
  #isOffered: boolean | undefined;

  constructor(deps: ArrivalDeps) {
    const db = deps.client.db(deps.name, durable);
    this.#deps = deps;
    this.#collections = { bodies: collectionOf(db, "bodies"), mails: collectionOf(db, "mails") };
  }

  async isOffered(): Promise<boolean> {
    if (this.#isOffered !== undefined) return this.#isOffered;
    const { client } = this.#deps;
    const hello: Document = await reach(() => client.db("admin").command({ hello: 1 }));
    return (this.#isOffered ??= Number(hello.maxWireVersion) >= jointVersion);
  }

  async insert(arriving: Arriving[]): Promise<Settled<Inserted>[]> {
    const wanted = arriving.filter(({ signal }) => signal?.aborted !== true);
    const settled = new Map(
      wanted.length === 0
        ? []
        : (await this.#insert(wanted)).map((each, at) => [wanted[at], each] as const),
    );
    return arriving.map((each) => settled.get(each) ?? { error: each.signal?.reason as unknown });
  }

  async #insert(arriving: readonly Arriving[]): Promise<Settled<Inserted>[]> {
    const { client, name } = this.#deps;
    const into = (collection: string) => (document: StoredDocument) =>
      ({ name: "insertOne", namespace: `${name}.${collection}`, document }) as const;
    const models = [
      ...arriving.map(({ body }) => body).map(into("bodies")),
      ...arriving.map(({ mail }) => mail).map(into("mails")),
    ];
    const { writeConcern, ignoreUndefined } = durable;
    try {
      await client.bulkWrite<Record<string, StoredDocument>>(models, {
        ordered: true,
        writeConcern,
        ignoreUndefined,
      });
      return arriving.map(() => ({ value: "inserted" }));
    } catch (error) {
      if (isWithoutServer(error)) throw error;
      const settled = await this.#inTwo(arriving);
      if (isRefusal(error)) this.#giveUp(error);
      return settled;
    }
  }

  /** Whatever became of the one command: what is there already is known as ours. */
  async #inTwo(arriving: readonly Arriving[]): Promise<Settled<Inserted>[]> {
    const { bodies, mails } = this.#collections;
    const put = await insertAll(
      bodies,
      arriving.map(({ body }) => body),
      ownBytes,
    );
    const isThere = (at: number) => {
      const body = put[at];
      return body !== undefined && "value" in body && body.value === "inserted";
    };
    const withBody = arriving.filter(({ signal }, at) => isThere(at) && signal?.aborted !== true);
    const inserted =
      withBody.length === 0
        ? []
        : await insertAll(
            mails,
            withBody.map(({ mail }) => mail),
            ownBody,
          );
    const settled = new Map(withBody.map((each, at) => [each, inserted[at]]));
    return arriving.map((each, at): Settled<Inserted> => {
      const mail = settled.get(each);
      if (mail !== undefined) return mail;
      const body = put[at];
      if (body !== undefined && "error" in body) return body;
      return { error: (each.signal?.reason as unknown) ?? new Error("its body is not there") };
    });
  }

  #giveUp(error: unknown): void {
    this.#isOffered = false;
    const reason = messageOf(error);
    this.#deps.log.info({ reason }, "the database takes no bulkWrite, mail is stored in two steps");
  }
}

type Collected = ReturnType<typeof collectionOf>;

/** The command as a whole, and not for now. */
function isRefusal(error: unknown): boolean {
  if (!(error instanceof MongoClientBulkWriteError))
    return error instanceof MongoServerError && !isPassing(error);
  const { writeErrors, writeConcernErrors, cause } = error;
  const isOfWrites = writeErrors.size > 0 || writeConcernErrors.length > 0;
  return !isOfWrites && cause instanceof MongoServerError && !isPassing(cause);
}
