import { exitWithError } from "@rs-agent/shared/lifecycle.ts";
import { cacheFolderOf, loadMongoDbConfig } from "@rs-agent/kit/mongodb/config.ts";
import { buildRustServer } from "@rs-agent/kit/mongodb/rust-server.ts";

/**
 * `npm run mongo:build`: a database that is fast enough for measurements, if no mongod can be had.
 */
try {
  const { env } = process;
  const config = loadMongoDbConfig(env);
  const report = (text: string) => process.stderr.write(`${text}\n`);
  const context = { cacheDir: cacheFolderOf(config), path: config.PATH, env, report };
  process.stdout.write(`${await buildRustServer(context)}\n`);
} catch (error) {
  exitWithError(error);
}
