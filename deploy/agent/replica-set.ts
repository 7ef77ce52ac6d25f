import { z } from "zod";
import { integer, loadConfig } from "@rs-agent/shared/config.ts";
import { exitWithError } from "@rs-agent/shared/lifecycle.ts";
import { makeReplicaSet } from "@rs-agent/shared/store/replica-set.ts";

/** `replica-set`: makes the mongod of docker-compose.yml the one node of its set; again is harmless. */
const schema = z.object({
  MONGODB_URI: z.string(),
  REPLICA_SET: z.string().default("rs0"),
  REPLICA_SET_MEMBER: z.string().default("mongodb:27017"),
  REPLICA_SET_WAIT_MS: integer(1_000, 3_600_000).default(120_000),
});

await main().catch(exitWithError);

async function main(): Promise<void> {
  const config = loadConfig(schema, process.env);
  const made = await makeReplicaSet({
    uri: config.MONGODB_URI,
    name: config.REPLICA_SET,
    member: config.REPLICA_SET_MEMBER,
    withinMs: config.REPLICA_SET_WAIT_MS,
  });
  process.stderr.write(`replica set ${config.REPLICA_SET}: ${made}, takes writes\n`);
}
