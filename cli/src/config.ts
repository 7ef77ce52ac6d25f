import { hostname, userInfo } from "node:os";
import { z } from "zod";
import { databaseName, loadConfig } from "@rs-agent/shared/config.ts";
import { TerminalError } from "@rs-agent/shared/errors.ts";
import { dnsSettings } from "@rs-agent/shared/mail/authentication/dns.ts";
import { mongoDbFileSettings } from "@rs-agent/shared/mongodb-files.ts";

/** Settings of `rs-agent`, by the names that they have in the services. */
export const cliConfigSchema = z.object({
  MONGODB_URI: z.string(),
  ...mongoDbFileSettings,
  MONGODB_DB: databaseName(),
  /** The name under which the records say who did something. */
  RS_AGENT_USER: z.string().min(1).max(128).optional(),
  /** Our name in reports on undelivered mail, as the services have it. */
  MAIL_HOSTNAME: z.string().min(1).max(255).default(hostname()),
  /** For `policy test`: the default next hop, as the dispatcher has it. */
  RELAY_NEXT_HOP: z.string().optional(),
  /** For `unknown settle --as bounced`, as the relay has them. */
  ...dnsSettings,
});
export type CliConfig = z.output<typeof cliConfigSchema> & { by: string };

/** @throws TerminalError CFG_INVALID naming each wrong setting */
export function loadCliConfig(env: NodeJS.ProcessEnv): CliConfig {
  if ((env.MONGODB_URI ?? "") === "" && (env.MONGODB_URI_FILE ?? "") === "") {
    const text = "MONGODB_URI is not set: give it as the services have it (or run `npm start`)";
    throw new TerminalError("CFG_INVALID", text);
  }
  const config = loadConfig(cliConfigSchema, env);
  return { ...config, by: config.RS_AGENT_USER ?? userName() };
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return "unknown";
  }
}
