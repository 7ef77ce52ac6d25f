import { setTimeout as wait } from "node:timers/promises";
import { MongoClient, type Document } from "mongodb";
import { RetryableError, messageOf } from "../errors.ts";

/** What `hello` says of a server: it takes writes, or is not a member of a set yet, or elects. */
export function stageOf(hello: Document): "primary" | "uninitiated" | "waiting" {
  if (hello.isWritablePrimary === true) return "primary";
  // mongod with --replSet before rs.initiate(): https://www.mongodb.com/docs/manual/reference/command/hello/
  return hello.isreplicaset === true ? "uninitiated" : "waiting";
}

export interface ReplicaSetOptions {
  /** Of the one node, with or without `replicaSet`: it is asked directly. */
  uri: string;
  /** The set's name, as `mongod --replSet` has it. */
  name: string;
  /** `host:port` under which the services reach the node. */
  member: string;
  withinMs: number;
  signal?: AbortSignal;
}

const lookEveryMs = 250;

/**
 * Makes a mongod the one node of its replica set, unless it is one, and waits until it takes writes.
 * @throws RetryableError STORE_UNREACHABLE if it does not in time
 */
export async function makeReplicaSet(options: ReplicaSetOptions): Promise<"made" | "was there"> {
  const giveUpAt = performance.now() + options.withinMs;
  const url = new URL(options.uri.replace(/^mongodb:/, "http:"));
  url.searchParams.delete("replicaSet");
  url.searchParams.set("directConnection", "true");
  const client = new MongoClient(url.href.replace(/^http:/, "mongodb:"), {
    serverSelectionTimeoutMS: 2_000,
  });
  let result: "made" | "was there" = "was there";
  let last: unknown = "it elects no primary";
  try {
    while (performance.now() < giveUpAt) {
      options.signal?.throwIfAborted();
      try {
        const admin = client.db("admin");
        const stage = stageOf(await admin.command({ hello: 1 }));
        if (stage === "primary") return result;
        if (stage === "uninitiated") {
          const members = [{ _id: 0, host: options.member }];
          await admin.command({ replSetInitiate: { _id: options.name, members } });
          result = "made";
        }
      } catch (error) {
        // Also what replSetInitiate says while the node cannot resolve its own name yet.
        last = error;
      }
      await wait(lookEveryMs, undefined, { signal: options.signal });
    }
  } finally {
    await client.close();
  }
  throw new RetryableError("STORE_UNREACHABLE", `the database is not ready: ${messageOf(last)}`, {
    cause: last,
  });
}
