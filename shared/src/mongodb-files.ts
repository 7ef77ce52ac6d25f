import { readFileSync } from "node:fs";
import { z } from "zod";
import { messageOf, TerminalError } from "./errors.ts";

/** Where the address of the database and its secrets may be instead of in the environment. */
export const mongoDbFileSettings = {
  /** Holds what would be in MONGODB_URI. */
  MONGODB_URI_FILE: z.string().optional(),
  /** User and password, if the URI has none. */
  MONGODB_USERNAME_FILE: z.string().optional(),
  MONGODB_PASSWORD_FILE: z.string().optional(),
};

/**
 * The environment with MONGODB_URI as the files make it. They are read once: the driver takes no other
 * password later.
 * @throws TerminalError CFG_INVALID naming setting and file; nothing of their contents
 */
export function withMongoDbFiles(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const uri = uriIn(env);
  const { MONGODB_USERNAME_FILE: userFile, MONGODB_PASSWORD_FILE: passwordFile } = env;
  if (userFile === undefined && passwordFile === undefined)
    return uri === undefined ? env : { ...env, MONGODB_URI: uri };
  if (userFile === undefined || passwordFile === undefined)
    throw wrong("MONGODB_USERNAME_FILE and MONGODB_PASSWORD_FILE belong together");
  const parts = /^(mongodb(?:\+srv)?:\/\/)([^/?]*@)?(.*)$/s.exec(uri ?? "");
  if (parts === null)
    throw wrong("MONGODB_USERNAME_FILE: there is no MONGODB_URI that it would belong to");
  const [, scheme = "", given, rest = ""] = parts;
  if (given !== undefined)
    throw wrong("MONGODB_USERNAME_FILE: the connection string has a user of its own");
  const user = encodeURIComponent(lineIn("MONGODB_USERNAME_FILE", userFile));
  const password = encodeURIComponent(lineIn("MONGODB_PASSWORD_FILE", passwordFile));
  return { ...env, MONGODB_URI: `${scheme}${user}:${password}@${rest}` };
}

function uriIn({ MONGODB_URI, MONGODB_URI_FILE }: NodeJS.ProcessEnv): string | undefined {
  if (MONGODB_URI_FILE === undefined) return MONGODB_URI;
  if (MONGODB_URI !== undefined) throw wrong("MONGODB_URI and MONGODB_URI_FILE are both set");
  return lineIn("MONGODB_URI_FILE", MONGODB_URI_FILE);
}

function lineIn(setting: string, path: string): string {
  let text: string;
  try {
    text = readFileSync(path, "utf8").replace(/\r?\n$/, "");
  } catch (error) {
    throw wrong(`${setting}: ${messageOf(error)}`, error);
  }
  if (text === "") throw wrong(`${setting}: ${path} is empty`);
  return text;
}

function wrong(message: string, cause?: unknown): TerminalError {
  return new TerminalError("CFG_INVALID", message, { cause });
}
