import { spawn } from "node:child_process";
import { once } from "node:events";
import { constants } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { exit, exitWithError } from "@rs-agent/shared/lifecycle.ts";
import { loadStartConfig } from "./config.ts";
import { createProgress } from "./progress.ts";
import { needs, provideSystemPackages, thisHost } from "@rs-agent/kit/system-packages.ts";

/**
 * `npm test`: provides the system packages that the tests use, then runs Vitest in place of itself.
 */
const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

await main().catch(exitWithError);

async function main(): Promise<void> {
  const { PATH: path } = loadStartConfig(process.env);
  const progress = createProgress();
  const { clamd, spamd, rspamd, smtpSink, systemdAnalyze, mailDkim, zip } = needs;
  const sasl = [needs.saslUsers, needs.saslPlain];
  const report = (text: string) => progress.say("apt", text);
  const note = (text: string) => progress.note(text);
  try {
    const wanted = [clamd, spamd, rspamd, smtpSink, ...sasl, systemdAnalyze, mailDkim, zip];
    await provideSystemPackages(wanted, thisHost(path, { report, note }));
  } finally {
    progress.stop();
  }
  const vitest = join(root, "node_modules", "vitest", "vitest.mjs");
  const child = spawn(process.execPath, [vitest, "run", ...process.argv.slice(2)], {
    cwd: root,
    stdio: "inherit",
  });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => child.kill(signal));
  }
  const [code, signal] = (await once(child, "exit")) as [number | null, NodeJS.Signals | null];
  exit(code ?? 128 + (signal === null ? 0 : constants.signals[signal]));
}
