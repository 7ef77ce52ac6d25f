import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import { startMongoDb } from "@rs-agent/kit/mongodb/mongodb.ts";

declare module "vitest" {
  export interface ProvidedContext {
    /** Real MongoDB-protocol servers, one for each of the processes that run test files. */
    mongodbUris: string[];
  }
}

/**
 * Gives each test process a private server, so that a file that keeps its database busy slows no
 * neighbour down; or gives all of them the one that TEST_MONGODB_URI names. Ends only its own
 * children and removes only its own data.
 */
export default async function setUp(project: TestProject): Promise<() => Promise<void>> {
  const given = process.env.TEST_MONGODB_URI ?? "";
  if (given !== "") {
    project.provide("mongodbUris", [given]);
    return () => Promise.resolve();
  }
  const dataDir = await mkdtemp(join(tmpdir(), "rs-agent-test-mongodb-"));
  const report = (text: string) => process.stderr.write(`MongoDB: ${text}\n`);
  const start = (nth: number) => startMongoDb({ dataDir: join(dataDir, String(nth)), report });
  // The first start provides the program, and the others find it.
  const servers = [await start(0)];
  const others = Array.from({ length: project.vitest.config.maxWorkers - 1 }, (_, at) => at + 1);
  servers.push(...(await Promise.all(others.map(start))));
  report(servers.map(({ server, durability }) => `${server}; ${durability}`)[0] ?? "");
  const uris = servers.map(({ uri }) => uri);
  project.provide("mongodbUris", uris);
  return async () => {
    await Promise.all(servers.map((server) => server.stop()));
    await rm(dataDir, { recursive: true, force: true });
  };
}
