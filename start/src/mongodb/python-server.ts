import { mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { findProgram, isExecutable } from "./find-program.ts";
import { runCommand } from "./run-command.ts";
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
  const { cacheDir, path, env, report } = context;
  const folder = join(cacheDir, `secantusdb-${release.split("==")[1] ?? ""}`);
  const file = join(folder, "bin", "secantusd-py");
  if (await isExecutable(file)) return { file };
  const python = await findProgram("python3", path);
  if (python === undefined) return { missing: "no python3 on the PATH" };

  // pip writes the console script last of all, so a half-made environment is not mistaken for one.
  await rm(folder, { recursive: true, force: true });
  await mkdir(cacheDir, { recursive: true });
  report("making a Python environment for SecantusDB");
  const made = await makeEnvironment(context, python, folder);
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

/** Debian leaves `ensurepip` out of python3: its package python3-venv brings it. */
async function makeEnvironment(
  { path, env, report }: ProviderContext,
  python: string,
  folder: string,
) {
  const make = () => runCommand(python, ["-m", "venv", folder], { env, silenceMs });
  const first = await make();
  if (first.ok || process.getuid?.() !== 0) return first;
  const aptGet = await findProgram("apt-get", path);
  if (aptGet === undefined) return first;
  report("installing python3-venv by apt-get");
  const aptEnv = { ...env, DEBIAN_FRONTEND: "noninteractive" };
  await runCommand(aptGet, ["update", "-q"], { env: aptEnv, silenceMs });
  const args = ["install", "-y", "-q", "--no-install-recommends", "python3-venv"];
  const installed = await runCommand(aptGet, args, { env: aptEnv, silenceMs });
  return installed.ok ? make() : first;
}

function lastLine(text: string): string {
  return text.trim().split("\n").at(-1) ?? "";
}
