import { BSON, ReadConcern, type ClientSession, type Db, type MongoClient } from "mongodb";
import { z } from "zod";
import { TerminalError } from "../errors.ts";
import { newToken, sha256Hex } from "../ids.ts";
import { policyDocumentSchema, type PolicyDocument } from "../policy/document.ts";
import { createSlice } from "../slices.ts";
import { collectionOf, durable, reach } from "./connection.ts";
import { upserting } from "./inserts.ts";
import {
  batchSize,
  demandRoom,
  differencesOf,
  writeDifferences,
  type WriteProgress,
} from "./policy-writes.ts";

/** The collection `policies`. All methods throw RetryableError STORE_UNREACHABLE while the database is away. */
export interface PolicyStore {
  /**
   * All documents. One whose bytes are as they were last time is not parsed again: it is the same
   * object, so never change one. Others have their turn on the event loop between them.
   * @throws TerminalError CFG_POLICY_INVALID naming what does not fit the schema
   */
  all(): Promise<PolicyDocument[]>;
  /** Rises with each `replace`. 0: nothing was ever stored. */
  revision(): Promise<number>;
  /**
   * Another text whenever the documents may be others: after a `replace`, and also if the database
   * was put back to an older state or the collection was exchanged. Two keys are looked up.
   */
  version(): Promise<string>;
  /**
   * Stores these documents, and no others, in one transaction under a new revision, which it returns.
   * Who reads sees all of it or nothing; if it is interrupted, nothing is changed. Documents that are
   * stored already as they are given keep their revision.
   * @throws TerminalError CFG_POLICY_INVALID naming documents that are too large
   */
  replace(
    documents: readonly PolicyDocument[],
    options?: { onProgress?: (progress: WriteProgress) => void },
  ): Promise<number>;
}

const counterId = "policy-revision";
const projection = { _id: 0, revision: 1 };
const everything = { _id: { $gte: "" } };

export function createPolicyStore(client: MongoClient, db: Db): PolicyStore {
  const policies = collectionOf(db, "policies");
  const controls = collectionOf(db, "controls");
  /** What was last read, by the hash of its bytes. */
  let known: ReadonlyMap<string, PolicyDocument> = new Map();

  async function revision(session?: ClientSession): Promise<number> {
    const counter = await controls.findOne({ _id: counterId }, session ? { session } : {});
    return typeof counter?.revision === "number" ? counter.revision : 0;
  }

  async function* stored(session?: ClientSession): AsyncGenerator<Uint8Array> {
    const options = { raw: true, batchSize, ...(session && { session }) };
    for await (const raw of policies.find(everything, options)) yield raw as unknown as Uint8Array;
  }

  return {
    revision: () => reach(() => revision()),

    version: () =>
      reach(async () => {
        const [counter, newest] = await Promise.all([
          controls.findOne({ _id: counterId }),
          policies
            .find({ revision: { $gte: 0 } }, { sort: { revision: -1 }, limit: 1, projection })
            .toArray(),
        ]);
        return JSON.stringify([counter?.revision, counter?.mark, newest[0]?.revision]);
      }),

    all: () =>
      reach(async () => {
        // Read again if a `replace` came between: half of one revision is not a policy.
        for (;;) {
          const before = await revision();
          const read = await readAll(stored(), known);
          if ((await revision()) !== before) continue;
          known = read.documents;
          if (read.wrong !== undefined) throw read.wrong;
          return [...known.values()];
        }
      }),

    replace: (documents, { onProgress = () => undefined } = {}) =>
      reach(async () => {
        demandRoom(documents);
        let revisionStored = 0;
        const store = async (session: ClientSession) => {
          await controls.updateOne(
            { _id: counterId },
            // Put back to an older state and changed again, a number comes twice; the mark does not.
            { $inc: { revision: 1 }, $set: { mark: newToken() } },
            { upsert: true, session },
          );
          revisionStored = await revision(session);
          const differences = await differencesOf(stored(session), documents);
          await writeDifferences(policies, differences, {
            revision: revisionStored,
            session,
            onProgress,
          });
        };
        const concerns = {
          writeConcern: durable.writeConcern,
          readConcern: new ReadConcern("snapshot"),
        };
        // As a whole: nothing of a transaction that was refused is there.
        await upserting(() =>
          client.withSession((session) => session.withTransaction(() => store(session), concerns)),
        );
        return revisionStored;
      }),
  };
}

/** What is wrong is told only once it is known that nothing has changed meanwhile. */
async function readAll(
  stored: AsyncIterable<Uint8Array>,
  known: ReadonlyMap<string, PolicyDocument>,
): Promise<{ documents: Map<string, PolicyDocument>; wrong: TerminalError | undefined }> {
  const documents = new Map<string, PolicyDocument>();
  let wrong: TerminalError | undefined;
  const slice = createSlice();
  for await (const raw of stored) {
    const hash = sha256Hex(raw);
    const document = known.get(hash) ?? parsePolicy(BSON.deserialize(raw));
    if (document instanceof TerminalError) wrong ??= document;
    else documents.set(hash, document);
    if (slice.isOver()) await slice.next();
  }
  return { documents, wrong };
}

function parsePolicy(document: { _id?: unknown }): PolicyDocument | TerminalError {
  const parsed = policyDocumentSchema.safeParse(document);
  if (parsed.success) return parsed.data;
  return new TerminalError(
    "CFG_POLICY_INVALID",
    `policy ${String(document._id)} in the database is wrong:\n${z.prettifyError(parsed.error)}`,
  );
}
