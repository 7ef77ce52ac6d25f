import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { TerminalError } from "@rs-agent/shared/errors.ts";
import { findProgram, isExecutable } from "../processes/find-program.ts";
import type { ProviderContext } from "./providers.ts";
import { runCommand } from "../processes/run-command.ts";

/** The release that every figure in docs/performance.md was measured with. */
const crate = "secantus-mdb";
const version = "0.5.3-beta.196";
const name = "secantusd-rs";
/** The linker and WiredTiger's build print nothing for minutes. */
const silenceMs = 1_200_000;

/** Where SecantusDB's Rust server is once it has been built. */
export function cachedRustServer(cacheDir: string): string {
  return join(cacheDir, "bin", name);
}

/**
 * Builds SecantusDB's Rust server with cargo into the cache, where `npm start`, tests and
 * benchmarks find it: about seven minutes on two cores. Resolves to its path, immediately if it is
 * already there.
 * @throws TerminalError SETUP_MISSING if there is no cargo, SETUP_FAILED with cargo's last words
 */
export async function buildRustServer({
  cacheDir,
  path,
  env,
  report,
}: ProviderContext): Promise<string> {
  const file = cachedRustServer(cacheDir);
  if (await isExecutable(file)) return file;
  const cargo = await findProgram("cargo", path);
  if (cargo === undefined) throw new TerminalError("SETUP_MISSING", withoutCargo);
  await mkdir(cacheDir, { recursive: true });
  report(`building ${crate} ${version} by cargo: some minutes`);
  // It demands a newer compiler than it needs.
  const args = ["install", crate, "--version", version, "--ignore-rust-version"];
  const end = await runCommand(cargo, [...args, "--root", cacheDir], {
    env,
    silenceMs,
    onLine: (line) => {
      if (/^(Compiling|Downloaded|Updating|Building|Installing|warning: unused)/.test(line)) return;
      report(line);
    },
  });
  if (end.ok && (await isExecutable(file))) return file;
  const words = end.output.split("\n").slice(-15).join("\n");
  throw new TerminalError("SETUP_FAILED", `cargo did not build ${crate} ${version}:\n${words}`);
}

const withoutCargo =
  "no cargo on the PATH: install Rust (https://rustup.rs) with cmake and a C compiler, which build " +
  "the storage engine, or put a mongod on the PATH, which needs no build";
