import { mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { TerminalError } from "@rs-agent/shared/errors.ts";
import { needs, provideSystemPackages, thisHost } from "../system-packages.ts";
import { findProgram, isExecutable } from "../processes/find-program.ts";
import { runCommand } from "../processes/run-command.ts";
import type { ProviderContext } from "./providers.ts";

/** The release that LIBRARIES.md measured. */
const release = "SecantusDB==0.7.0b3";
const silenceMs = 120_000;

/**
 * SecantusDB's Python server in a virtual environment of its own in the cache, made if it is not
 * there.
 */
export async function findPythonServer(
  context: ProviderContext,
): Promise<{ file: string } | { missing: string }> {
  const { cacheDir, env, report } = context;
  const folder = join(cacheDir, `secantusdb-${release.split("==")[1] ?? ""}`);
  const file = join(folder, "bin", "secantusd-py");
  if (await isExecutable(file)) return { file };
  const python = await providePython(context);
  if ("missing" in python) return python;

  // pip writes the console script last of all, so a half-made environment is not mistaken for one.
  await rm(folder, { recursive: true, force: true });
  await mkdir(cacheDir, { recursive: true });
  report("making a Python environment for SecantusDB");
  const made = await runCommand(python.file, ["-m", "venv", folder], { env, silenceMs });
  if (!made.ok) return { missing: `no virtual environment can be made: ${lastLine(made.output)}` };
  report(`installing ${release} by pip`);
  const pip = join(folder, "bin", "pip");
  const args = ["install", "--disable-pip-version-check", "--no-input", "--pre", release];
  const installed = await runCommand(pip, args, { env, silenceMs });
  if (installed.ok && (await isExecutable(file))) return { file };
  await rename(folder, `${folder}.failed`).catch(() => undefined);
  await rm(`${folder}.failed`, { recursive: true, force: true });
  return { missing: `pip cannot install ${release}: ${lastLine(installed.output)}` };
}

/** Python with its `venv`: there, or installed like the other packages of the system. */
async function providePython({
  path,
  env,
  report,
}: ProviderContext): Promise<{ file: string } | { missing: string }> {
  const host = thisHost(path, { report }, env);
  try {
    await provideSystemPackages([needs.python, needs.pythonVenv], host);
  } catch (error) {
    if (!(error instanceof TerminalError)) throw error;
    return { missing: error.message };
  }
  const file = await findProgram("python3", host.path);
  return file === undefined ? { missing: "no python3 on the PATH" } : { file };
}

function lastLine(text: string): string {
  return text.trim().split("\n").at(-1) ?? "";
}
