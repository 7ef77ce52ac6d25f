import { mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { TerminalError } from "@rs-agent/shared/errors.ts";
import { findProgram, isExecutable } from "./processes/find-program.ts";
import { runCommand } from "./processes/run-command.ts";
import { needs, provideSystemPackages, thisHost } from "./system-packages.ts";

const silenceMs = 120_000;

export interface PythonEnvironment {
  /** Its folder in the cache: one per set of packages. */
  name: string;
  /** For pip, each with its version. */
  packages: readonly string[];
  /**
   * The console script that one of the packages brings; absent: an interpreter that can import
   * them.
   */
  script?: string;
  pipArguments?: readonly string[];
}

export interface PythonContext {
  cacheDir: string;
  path: string;
  env: NodeJS.ProcessEnv;
  report: (text: string) => void;
}

/**
 * A virtual environment in the cache, made if it is missing; `file` is its script or interpreter.
 */
export async function providePython(
  { name, packages, script, pipArguments = [] }: PythonEnvironment,
  context: PythonContext,
): Promise<{ file: string } | { missing: string }> {
  const { cacheDir, env, report } = context;
  const folder = join(cacheDir, name);
  const file = join(folder, "bin", script ?? "python3");
  // Written last, so that a half-made environment is not mistaken for a whole one.
  const proof = script === undefined ? join(folder, "bin", "made") : file;
  if (await isExecutable(proof)) return { file };
  const python = await systemPython(context);
  if ("missing" in python) return python;

  await rm(folder, { recursive: true, force: true });
  await mkdir(cacheDir, { recursive: true });
  report(`making a Python environment for ${packages.join(", ")}`);
  const made = await runCommand(python.file, ["-m", "venv", folder], { env, silenceMs });
  if (!made.ok) return { missing: `no virtual environment can be made: ${lastLine(made.output)}` };
  const pip = join(folder, "bin", "pip");
  const args = ["install", "--disable-pip-version-check", "--no-input", ...pipArguments];
  const installed = await runCommand(pip, [...args, ...packages], { env, silenceMs });
  if (installed.ok && script === undefined) await rename(pip, proof);
  if (installed.ok && (await isExecutable(proof))) return { file };
  await rename(folder, `${folder}.failed`).catch(() => undefined);
  await rm(`${folder}.failed`, { recursive: true, force: true });
  return { missing: `pip cannot install ${packages.join(", ")}: ${lastLine(installed.output)}` };
}

/** Python with its `venv`: already there, or installed like the other system packages. */
async function systemPython({
  path,
  env,
  report,
}: PythonContext): Promise<{ file: string } | { missing: string }> {
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
