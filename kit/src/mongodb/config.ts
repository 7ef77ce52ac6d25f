import { homedir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { loadConfig } from "@rs-agent/shared/config.ts";

export const providerNames = ["mongod", "secantusd-rs", "memory-server", "secantusd-py"] as const;
export type ProviderName = (typeof providerNames)[number];

/** Environment variables that choose where a private MongoDB comes from. */
export const mongoDbConfigSchema = z.object({
  /** Forces one provider; absent: the first that works, in the order of `providerNames`. */
  RS_AGENT_MONGODB: z.enum(providerNames).optional(),
  /** The folder for everything that is fetched. Default: `rs-agent` in the user's cache folder. */
  RS_AGENT_CACHE: z.string().optional(),
  XDG_CACHE_HOME: z.string().optional(),
  PATH: z.string().default("/usr/local/bin:/usr/bin:/bin"),
});
export type MongoDbConfig = z.infer<typeof mongoDbConfigSchema>;

/** @throws TerminalError CFG_INVALID if RS_AGENT_MONGODB names no provider. */
export function loadMongoDbConfig(env: NodeJS.ProcessEnv = process.env): MongoDbConfig {
  return loadConfig(mongoDbConfigSchema, env);
}

/** The folder in which fetched programs are kept (XDG base directory specification). */
export function cacheFolderOf(
  config: Pick<MongoDbConfig, "RS_AGENT_CACHE" | "XDG_CACHE_HOME">,
): string {
  return (
    config.RS_AGENT_CACHE ?? join(config.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "rs-agent")
  );
}
