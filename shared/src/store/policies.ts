import { ReadConcern, type ClientSession, type Db, type MongoClient } from "mongodb";
import { z } from "zod";
import { TerminalError } from "../errors.ts";
import { newToken } from "../ids.ts";
import { policyDocumentSchema, type PolicyDocument } from "../policy/document.ts";
import { collectionOf, durable, reach } from "./connection.ts";
import { upserting } from "./inserts.ts";

/** The collection `policies`. All methods throw RetryableError STORE_UNREACHABLE while the database is away. */
export interface PolicyStore {
  /** All documents. @throws TerminalError CFG_POLICY_INVALID naming what does not fit the schema */
  all(): Promise<PolicyDocument[]>;
  /** Rises with each `replace`. 0: nothing was ever stored. */
  revision(): Promise<number>;
  /**
   * Another text whenever the documents may be others: after a `replace`, and also if the database
   * was put back to an older state or the collection was exchanged. Two keys are looked up.
   */
  version(): Promise<string>;
  /**
   * Stores these documents in one step under a new revision, which it returns. Documents that are not
   * named are removed, unless `keepOthers`.
   */
  replace(
    documents: readonly PolicyDocument[],
    options?: { keepOthers?: boolean },
  ): Promise<number>;
}

const counterId = "policy-revision";
const projection = { _id: 0, revision: 1 };

export function createPolicyStore(client: MongoClient, db: Db): PolicyStore {
  const policies = collectionOf(db, "policies");
  const controls = collectionOf(db, "controls");

  async function revision(session?: ClientSession): Promise<number> {
    const counter = await controls.findOne({ _id: counterId }, session ? { session } : {});
    return typeof counter?.revision === "number" ? counter.revision : 0;
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
        // Read again if a `replace` came between: half of one revision is no policy.
        for (;;) {
          const before = await revision();
          const documents = await policies.find({ _id: { $gte: "" } }).toArray();
          if ((await revision()) === before) return documents.map(parsePolicy);
        }
      }),

    replace: (documents, { keepOthers = false } = {}) =>
      reach(async () => {
        let stored = 0;
        const store = async (session: ClientSession) => {
          await controls.updateOne(
            { _id: counterId },
            // Put back to an older state and changed again, a number comes twice; the mark does not.
            { $inc: { revision: 1 }, $set: { mark: newToken() } },
            { upsert: true, session },
          );
          stored = await revision(session);
          const ids = documents.map(({ _id }) => _id);
          if (!keepOthers) await policies.deleteMany({ _id: { $gte: "", $nin: ids } }, { session });
          for (const { _id, ...fields } of documents)
            await policies.replaceOne(
              { _id },
              { ...fields, revision: stored },
              { upsert: true, session },
            );
        };
        const concerns = {
          writeConcern: durable.writeConcern,
          readConcern: new ReadConcern("snapshot"),
        };
        // As a whole: nothing of a transaction that was refused is there.
        await upserting(() =>
          client.withSession((session) => session.withTransaction(() => store(session), concerns)),
        );
        return stored;
      }),
  };
}

function parsePolicy(document: { _id: unknown }): PolicyDocument {
  const parsed = policyDocumentSchema.safeParse(document);
  if (parsed.success) return parsed.data;
  throw new TerminalError(
    "CFG_POLICY_INVALID",
    `policy ${String(document._id)} in the database is wrong:\n${z.prettifyError(parsed.error)}`,
  );
}
