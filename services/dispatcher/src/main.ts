import { showCommands, watchDatabase } from "@rs-agent/shared/health/database-part.ts";
import { runWithHealth } from "@rs-agent/shared/health/run-with-health.ts";
import { openDatabase } from "@rs-agent/shared/store/database.ts";
import { dispatcherConfigSchema } from "./config.ts";
import { startDispatcher } from "./dispatcher.ts";

await runWithHealth("dispatcher", dispatcherConfigSchema, async (deps) => {
  const { config, clock, log, metrics } = deps;
  const { MONGODB_URI: uri, MONGODB_DB: db } = config;
  const database = await openDatabase({ uri, db, clock, log });
  showCommands(metrics, database);
  const handle = await startDispatcher({ ...deps, database });
  return { handle, parts: [watchDatabase(database, clock)] };
});
