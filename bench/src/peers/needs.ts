import {
  needs,
  provideSystemPackages,
  thisHost,
  type Need,
} from "@rs-agent/kit/system-packages.ts";
import { findProgram } from "@rs-agent/kit/processes/find-program.ts";
import { runCommand } from "@rs-agent/kit/processes/run-command.ts";
import { TerminalError } from "@rs-agent/shared/errors.ts";

/** What the peers need of the operating system. */
export const peerNeeds = {
  amavisd: {
    program: "amavisd",
    packages: ["amavisd-new"],
    units: ["amavis.service", "amavisd-snmp-subagent.service"],
  },
  rspamd: { program: "rspamd", packages: ["rspamd"], units: ["rspamd.service"] },
  postfix: { ...needs.smtpSink, program: "postfix" },
  clamd: needs.clamd,
  clamdscan: { program: "clamdscan", packages: ["clamdscan"] },
  spamd: needs.spamd,
  spamc: { program: "spamc", packages: ["spamc"] },
} as const satisfies Record<string, Need>;

const host = thisHost(process.env["PATH"] ?? "/usr/bin:/bin", {
  report: (text) => process.stderr.write(`${text}\n`),
});

/**
 * Installs what is missing.
 * @throws TerminalError SETUP_MISSING, SETUP_FAILED
 */
export async function provide(...wanted: readonly Need[]): Promise<void> {
  await provideSystemPackages([needs.smtpSink, ...wanted], host);
}

/** @throws TerminalError SETUP_MISSING */
export async function programOf(name: string): Promise<string> {
  const file = await findProgram(name, host.path);
  if (file === undefined) throw new TerminalError("SETUP_MISSING", `${name} is not installed`);
  return file;
}

/** `amavisd-new 1:2.13.0-3`, as dpkg has it. */
export async function versionOf(name: string): Promise<string> {
  const asked = ["-W", "-f", "${Package} ${Version}", name];
  const { ok, output } = await runCommand("dpkg-query", asked, { silenceMs: 10_000 });
  return ok ? output : `${name} (not a package of this system)`;
}
