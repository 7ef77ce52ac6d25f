import { inject } from "vitest";

let isUsed = false;

/**
 * The server of the process that runs this test file; each test uses a database of its own name.
 */
export function mongodbUri(): string {
  const uris = inject("mongodbUris");
  const nth = Number(process.env.VITEST_POOL_ID ?? 1) - 1;
  const uri = uris[nth % uris.length];
  if (uri === undefined) throw new Error("the set-up of the tests gives no database");
  isUsed = true;
  return uri;
}

/**
 * Drops what the file's tests left, so that it costs the next file nothing. Not on a shared server.
 */
export async function dropDatabases(): Promise<void> {
  if (!isUsed || inject("mongodbUris").length === 1) return;
  const { MongoClient } = await import("mongodb");
  await using client = new MongoClient(mongodbUri());
  const { databases } = await client.db("admin").admin().listDatabases({ nameOnly: true });
  const left = databases.filter(({ name }) => !["admin", "config", "local"].includes(name));
  for (const { name } of left) await client.db(name).dropDatabase();
}
