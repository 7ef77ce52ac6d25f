import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { RunningSystem } from "@rs-agent/kit/system/system.ts";

/**
 * Leaves the settings of the running system in `rs-agent.env` of its run folder, as KEY=VALUE lines
 * with the names that the services use: `rs-agent` takes from there what its own environment lacks.
 * The file is readable for this user only, since MONGODB_URI may contain a password, and it is
 * removed when this process ends.
 */
export function leaveSettings(system: RunningSystem, runDir: string): void {
  const file = join(runDir, "rs-agent.env");
  const { mongodb, smtp, clamd, spamd, rspamd, nextHop } = system;
  const settings = {
    MONGODB_URI: mongodb.uri,
    MONGODB_DB: mongodb.db,
    INGEST_SMTP: smtp,
    AV_CLAMD: clamd,
    SPAM_SPAMD: spamd,
    SPAM_RSPAMD: rspamd,
    RELAY_NEXT_HOP: nextHop.address,
  };
  const lines = Object.entries(settings).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}=${quoted(value)}`],
  );
  const about = `# the system that process ${process.pid} (npm start) runs`;
  rmSync(file, { force: true });
  writeFileSync(file, [about, ...lines, ""].join("\n"), { mode: 0o600 });
  process.once("exit", () => rmSync(file, { force: true }));
}

/** For a shell's `.` as well as for `util.parseEnv`. */
function quoted(value: string): string {
  if (/^[\w@%+=:,./[\]-]*$/.test(value)) return value;
  return value.includes("'") ? `"${value}"` : `'${value}'`;
}
