import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { ProviderName } from "./config.ts";
import { findProgram, isExecutable } from "../processes/find-program.ts";
import { findPythonServer } from "./python-server.ts";
import { runCommand } from "../processes/run-command.ts";
import { cachedRustServer } from "./rust-server.ts";

/** A program that speaks MongoDB's protocol, ready to be started. */
export interface ServerProgram {
  kind: "mongod" | "secantus";
  file: string;
  /** Arguments besides port and data folder. */
  args: readonly string[];
  /** Where it came from, for a person: "on the PATH", "downloaded". */
  source: string;
}

/** What a provider found: a program, or why it has none. */
export type Found = { program: ServerProgram } | { missing: string };

export interface ProviderContext {
  cacheDir: string;
  path: string;
  env: NodeJS.ProcessEnv;
  report: (text: string) => void;
}

/** The providers, tried in the order of `providerNames`. */
export const providers: Record<ProviderName, (context: ProviderContext) => Promise<Found>> = {
  mongod: findMongod,
  "secantusd-rs": findRustServer,
  "memory-server": downloadMongod,
  "secantusd-py": async (context) => {
    const found = await findPythonServer(context);
    if ("missing" in found) return found;
    const source = "from pip, not for production";
    return { program: { kind: "secantus", file: found.file, args: syncOnCommit, source } };
  },
};

const syncOnCommit = ["--host", "127.0.0.1", "--log-level", "WARNING", "--sync-on-commit"];
const secondsWithoutASign = 20_000;
const retryDownloadAfterMs = 3_600_000;

async function findMongod({ path }: ProviderContext): Promise<Found> {
  const file = await findProgram("mongod", path);
  if (file === undefined) return { missing: "no mongod on the PATH" };
  return { program: { kind: "mongod", file, args: [], source: "on the PATH" } };
}

async function findRustServer({ path, cacheDir }: ProviderContext): Promise<Found> {
  const cached = cachedRustServer(cacheDir);
  const onPath = await findProgram("secantusd-rs", path);
  const file = onPath ?? ((await isExecutable(cached)) ? cached : undefined);
  if (file === undefined) return { missing: `no secantusd-rs on the PATH or at ${cached}` };
  // A log file is allocated in full, and 128 MB of zeros would be a slow start for a private
  // server.
  const args = [...syncOnCommit, "--log-file-max", "32MB", "--cache-size", "1G"];
  const source = onPath === undefined ? "from the cache" : "on the PATH";
  return { program: { kind: "secantus", file, args, source } };
}

/**
 * The real server, if the internet is reachable. A failed download is not retried for an hour, so
 * that later starts without internet are quick.
 */
async function downloadMongod({ cacheDir, env, report }: ProviderContext): Promise<Found> {
  const folder = join(cacheDir, "mongod");
  const failedMark = join(folder, "download-failed");
  const failed = await readFile(failedMark, "utf8").catch(() => "");
  const [failedAt = "", ...why] = failed.split("\n");
  if (failed !== "" && Date.now() - Date.parse(failedAt) < retryDownloadAfterMs)
    return { missing: `the download failed at ${failedAt}: ${why.join(" ")}` };
  await mkdir(folder, { recursive: true });
  report("looking whether mongod can be downloaded");
  const script = fileURLToPath(new URL("download-mongod.ts", import.meta.url));
  const end = await runCommand(process.execPath, [script, folder], {
    env: { ...env, MONGOMS_MAX_RETRIES: "0" },
    silenceMs: secondsWithoutASign,
    onLine: (line) => {
      if (line.includes("%")) report(line);
    },
  });
  const file = end.output.split("\n").at(-1)?.trim() ?? "";
  if (end.ok && (await isExecutable(file))) {
    await rm(failedMark, { force: true });
    return { program: { kind: "mongod", file, args: [], source: "downloaded" } };
  }
  const reason = /(Error|Failed|failed).*/.exec(end.output)?.[0] ?? end.output.slice(-300);
  await writeFile(failedMark, `${new Date().toISOString()}\n${reason}`);
  return { missing: `mongod cannot be downloaded: ${reason}` };
}
