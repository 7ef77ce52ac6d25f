import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import { startMongoDb } from "../../start/src/mongodb.ts";

declare module "vitest" {
  export interface ProvidedContext {
    /** A real MongoDB-protocol server for this run; each test takes a database of its own name. */
    mongodbUri: string;
  }
}

/**
 * Gives all tests one private server, or the one that TEST_MONGODB_URI names. Ends only its own
 * child and removes only its own data.
 */
export default async function setUp(project: TestProject): Promise<() => Promise<void>> {
  const given = process.env.TEST_MONGODB_URI ?? "";
  if (given !== "") {
    project.provide("mongodbUri", given);
    return () => Promise.resolve();
  }
  const dataDir = await mkdtemp(join(tmpdir(), "rs-agent-test-mongodb-"));
  const report = (text: string) => process.stderr.write(`MongoDB: ${text}\n`);
  const server = await startMongoDb({ dataDir, report });
  report(`${server.server}; ${server.durability}`);
  project.provide("mongodbUri", server.uri);
  return async () => {
    await server.stop();
    await rm(dataDir, { recursive: true, force: true });
  };
}
