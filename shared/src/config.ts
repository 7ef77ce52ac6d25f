import { z } from "zod";
import { TerminalError } from "./errors.ts";
import { withMongoDbFiles } from "./mongodb-files.ts";

/** An integer setting, given as decimal digits. */
export function integer(min: number, max: number) {
  return z.coerce.number().int().min(min).max(max);
}

/** A switch: `1`, `true`, `yes`, `on` and their opposites; anything else is a bad setting. */
export function flag() {
  return z.stringbool({
    truthy: ["1", "true", "yes", "on"],
    falsy: ["0", "false", "no", "off"],
  });
}

/** LOG_LEVEL: the words of pino. */
export function logLevel() {
  return z.enum(["trace", "debug", "info", "warn", "error", "fatal", "silent"]).default("info");
}

/** MONGODB_DB: what every MongoDB takes for a database's name ("Naming Restrictions" of its manual). */
export function databaseName() {
  return z
    .string()
    .regex(
      /^[^/\\. "$*<>:|?\0]+$/,
      "a database's name has no blank and none of / \\ . \" $ * < > : | ?",
    )
    .refine((name) => Buffer.byteLength(name) < 64, "a database's name has at most 63 bytes")
    .default("rs_agent");
}

/** A comma-separated list; blanks around entries do not count, empty entries are dropped. */
export function list() {
  return z.string().transform((text) =>
    text
      .split(",")
      .map((entry) => entry.trim())
      .filter((entry) => entry !== ""),
  );
}

/**
 * Reads a service's settings from the environment, whole: every bad setting is named in one
 * message. An empty variable counts as unset. MONGODB_URI may come from files.
 * @throws TerminalError CFG_INVALID
 */
export function loadConfig<S extends z.ZodType>(schema: S, env: NodeJS.ProcessEnv): z.output<S> {
  const set = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ""));
  const given = withMongoDbFiles(set);
  const parsed = schema.safeParse(given);
  if (parsed.success) return parsed.data;
  throw new TerminalError("CFG_INVALID", `settings are wrong:\n${z.prettifyError(parsed.error)}`);
}
