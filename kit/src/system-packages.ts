import { globSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { delimiter } from "node:path";
import { TerminalError } from "@rs-agent/shared/errors.ts";
import { findProgram } from "./processes/find-program.ts";
import { runCommand, type CommandEnd } from "./processes/run-command.ts";

/** Something of the operating system that we cannot bring as an npm package. */
export interface Need {
  /**
   * A program on the PATH (or in an sbin folder), a file in a library folder, or a Perl or Python
   * module.
   */
  program?: string;
  library?: string;
  perlModule?: string;
  pythonModule?: string;
  /** The Debian packages that bring it; a name that a release does not have is left out. */
  packages: readonly string[];
  /** What these packages start by themselves on a host with systemd. */
  units?: readonly string[];
}

export const needs = {
  clamd: {
    program: "clamd",
    packages: ["clamav-daemon"],
    units: ["clamav-daemon.service", "clamav-daemon.socket", "clamav-freshclam.service"],
  },
  // Up to Debian 11, spamd was part of spamassassin.
  spamd: { program: "spamd", packages: ["spamassassin", "spamd"], units: ["spamd.service"] },
  rspamd: { program: "rspamd", packages: ["rspamd"], units: ["rspamd.service"] },
  smtpSink: { program: "smtp-sink", packages: ["postfix"], units: ["postfix.service"] },
  saslUsers: { program: "saslpasswd2", packages: ["sasl2-bin"], units: ["saslauthd.service"] },
  // Debian only recommends it, for servers that let users sign in.
  saslPlain: { library: "sasl2/libplain.so", packages: ["libsasl2-modules"] },
  systemdAnalyze: { program: "systemd-analyze", packages: ["systemd"] },
  mailDkim: { perlModule: "Mail::DKIM::Verifier", packages: ["libmail-dkim-perl"] },
  zip: { program: "zip", packages: ["zip"] },
  python: { program: "python3", packages: ["python3"] },
  // Debian leaves ensurepip out of python3; without it no virtual environment has a pip.
  pythonVenv: { pythonModule: "ensurepip", packages: ["python3-venv"] },
} as const satisfies Record<string, Need>;

export interface Host {
  isRoot: boolean;
  path: string;
  /** The environment of the commands: a proxy, say. */
  env: NodeJS.ProcessEnv;
  run: typeof runCommand;
  hasSystemd: () => Promise<boolean>;
  /** Tells what is going on now. */
  report: (text: string) => void;
  /** A line that stays. */
  note: (text: string) => void;
}

/** This machine. */
export function thisHost(
  path: string,
  { report, note = report }: { report: (text: string) => void; note?: (text: string) => void },
  env: NodeJS.ProcessEnv = process.env,
): Host {
  return {
    env,
    isRoot: process.getuid?.() === 0,
    path: [path, "/usr/local/sbin", "/usr/sbin", "/sbin"].join(delimiter),
    run: runCommand,
    hasSystemd: async () => (await filesOf("/run/systemd/system")).length > 0,
    report,
    note,
  };
}

const silenceMs = 180_000;
/** RUNLEVEL=1: invoke-rc.d starts no services. */
const aptEnv = { DEBIAN_FRONTEND: "noninteractive", RUNLEVEL: "1" };
const aptInstall = ["install", "-y", "-q", "--no-install-recommends"];
const aptWait = ["-o", "DPkg::Lock::Timeout=120"];

/**
 * Makes sure that everything is installed: with apt-get if we are root on Debian; otherwise the
 * error says exactly what to install. What a package starts by itself is stopped again, because we
 * start our own.
 * @throws TerminalError SETUP_MISSING with the command to give; SETUP_FAILED with apt-get's words
 */
export async function provideSystemPackages(wanted: readonly Need[], host: Host): Promise<void> {
  const missing = await missingOf(wanted, host);
  if (missing.length === 0) return;
  const aptGet = await findProgram("apt-get", host.path);
  if (aptGet === undefined || !host.isRoot) throw instruction(missing, aptGet !== undefined);

  if ((await filesOf("/var/lib/apt/lists")).every((name) => !name.includes("_Packages"))) {
    await update(aptGet, host);
  }
  let packages = await knownOf(packagesOf(missing), host);
  host.note(`Missing: ${missing.map(nameOf).join(", ")}. apt-get installs ${packages.join(", ")}`);
  const setUp = new Set<string>();
  let end = await install(aptGet, packages, setUp, host);
  if (!end.ok) {
    await update(aptGet, host);
    packages = await knownOf(packagesOf(missing), host);
    end = await install(aptGet, packages, setUp, host);
  }
  await stopUnits(missing, host);
  const still = await missingOf(missing, host);
  host.note(`apt-get has installed ${setUp.size} packages, dependencies included`);
  if (still.length === 0) return;
  throw new TerminalError(
    "SETUP_FAILED",
    `apt-get did not install ${packagesOf(still).join(" ")}:\n${lastLines(end.output)}`,
  );
}

async function missingOf(wanted: readonly Need[], host: Host): Promise<Need[]> {
  const there = await Promise.all(wanted.map((need) => isThere(need, host)));
  return wanted.filter((_, index) => there[index] !== true);
}

async function isThere(need: Need, host: Host): Promise<boolean> {
  if (need.program !== undefined) {
    return (await findProgram(need.program, host.path)) !== undefined;
  }
  const { library, perlModule, pythonModule } = need;
  if (library !== undefined) return globSync(`/usr/lib{,64,/*}/${library}`).length > 0;
  if (perlModule !== undefined) return runs("perl", [`-M${perlModule}`, "-e1"], host);
  if (pythonModule !== undefined) return runs("python3", ["-c", `import ${pythonModule}`], host);
  return true;
}

async function runs(interpreter: string, args: readonly string[], host: Host): Promise<boolean> {
  const program = await findProgram(interpreter, host.path);
  return program !== undefined && (await host.run(program, args, { silenceMs })).ok;
}

function instruction(missing: readonly Need[], onDebian: boolean): TerminalError {
  const what = missing.map(nameOf).join(", ");
  const packages = packagesOf(missing).join(" ");
  const command = `apt-get install --no-install-recommends ${packages}`;
  return new TerminalError(
    "SETUP_MISSING",
    onDebian
      ? `not installed: ${what}. As root:\n  ${command}`
      : `not installed: ${what}. On Debian and Ubuntu, as root:\n  ${command}\n` +
          "Elsewhere install what brings these programs, and start again.",
  );
}

function nameOf({ program, library, perlModule, pythonModule }: Need): string {
  return program ?? library ?? perlModule ?? `${pythonModule ?? ""} of python3`;
}

async function update(aptGet: string, host: Host): Promise<void> {
  host.report("waiting for apt-get to read the lists of packages");
  await host.run(aptGet, [...aptWait, "update", "-q"], {
    env: { ...host.env, ...aptEnv, PATH: host.path },
    silenceMs,
  });
}

async function install(
  aptGet: string,
  packages: readonly string[],
  setUp: Set<string>,
  host: Host,
): Promise<CommandEnd> {
  host.report(`waiting for apt-get to install ${packages.join(", ")}`);
  return host.run(aptGet, [...aptWait, ...aptInstall, ...packages], {
    env: { ...host.env, ...aptEnv, PATH: host.path },
    silenceMs,
    onLine: (line) => {
      const step = /^(?:Get:\d+ \S+ \S+ \S+ (\S+)|(?:Setting up|Unpacking) (\S+))/.exec(line);
      const name = step?.[1] ?? step?.[2];
      if (name !== undefined && line.startsWith("Setting up")) setUp.add(name);
      if (name !== undefined) host.report(`waiting for apt-get to install ${name}`);
    },
  });
}

/** The packages that this release has; all of them if apt-cache cannot tell. */
async function knownOf(packages: readonly string[], host: Host): Promise<readonly string[]> {
  const known = await Promise.all(
    packages.map(async (name) => (await host.run("apt-cache", ["show", name], { silenceMs })).ok),
  );
  const found = packages.filter((_, index) => known[index] === true);
  return found.length === 0 ? packages : found;
}

async function stopUnits(installed: readonly Need[], host: Host): Promise<void> {
  const units = installed.flatMap((need) => need.units ?? []);
  if (units.length === 0 || !(await host.hasSystemd())) return;
  await host.run("systemctl", ["disable", "--now", ...units], { silenceMs });
}

function packagesOf(wanted: readonly Need[]): string[] {
  return [...new Set(wanted.flatMap((need) => need.packages))];
}

function lastLines(text: string): string {
  return text.trim().split("\n").slice(-8).join("\n");
}

async function filesOf(dir: string): Promise<string[]> {
  return readdir(dir).catch(() => []);
}
