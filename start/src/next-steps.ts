import { relative } from "node:path";
import type { RunningSystem } from "./system.ts";

/** The last lines of `npm start`: what runs where, and what to try. */
export function nextSteps(system: RunningSystem, cwd: string): string {
  const { mongodb, nextHop, smtp, logsDir } = system;
  const near = (path: string) => {
    const short = relative(cwd, path);
    return short.startsWith("..") ? path : short;
  };
  const env = `MONGODB_URI='${mongodb.uri}'${mongodb.db === "rs_agent" ? "" : ` MONGODB_DB=${mongodb.db}`}`;
  return [
    `SMTP listens on      ${smtp}`,
    nextHop.maildir === undefined
      ? `Relayed mail goes to ${nextHop.address}`
      : `Relayed mail lies in ${near(nextHop.maildir)}/new`,
    `Logs lie in          ${near(logsDir)}`,
    `Database             ${mongodb.server}`,
    "",
    "Try these in another terminal:",
    `  export ${env}`,
    "  npx rs-agent status",
    "  npx rs-agent quarantine ls",
    "  npx rs-agent find --to anna.berg@northwind.example",
    "",
    "Ctrl-C drains and stops.",
  ].join("\n");
}
