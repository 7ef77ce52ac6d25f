import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { nodeOptions } from "@rs-agent/kit/processes/service-process.ts";
import { interrupted } from "@rs-agent/kit/processes/stop-signal.ts";

/**
 * `npm run bench -- [name…] [--json] [the benchmark's own options]`: runs them one after the other.
 */
const benches: Record<string, string> = {
  bus: "dispatcher pool, ZeroMQ and 1 or 4 workers without an engine, next to raw PUSH/PULL",
  life: "insert to relayed with workers without engines, next to the driver alone",
  latency: "insert to relayed at 10 mails per second: p50 and p99",
  idle: "CPU and database commands while nothing comes, and of a mail at 10 per second",
  none: "SMTP to SMTP without checks, next to amavisd-new without checks and postfix alone",
  av: "SMTP to SMTP with clamd, next to amavisd-new with clamd",
  full: "SMTP to SMTP with clamd and SpamAssassin, next to amavisd-new with both and to spamd alone",
  rspamd:
    "SMTP to SMTP with clamd and rspamd, next to postfix with rspamd as milter and to full's amavisd-new",
  clamd: "our clamd client next to a bare IDSESSION loop and clamdscan",
  spamd: "our spamd client next to a bare loop and spamc",
  scale: "1, 2, 4 and 8 workers whose engine takes 20 ms, next to the ideal line",
  backlog: "what a claim costs with 1,000, 10,000 and 100,000 mails waiting",
  policies: "50,000 tenants: a look-up, taking a change on, memory, policy apply",
  writes: "many mails' progress in one statement or one each: time, the database's CPU",
  big: "fifty mails of 40 MB: the memory of each service",
  overload: "arrivals at a multiple of the capacity: memory, replies, order, recovery",
  guard: "bus, clamd and life in short: fails if one is below half of its target",
};

const named = process.argv.slice(2).filter((word) => !word.startsWith("-") && word in benches);
const options = process.argv.slice(2).filter((word) => !named.includes(word));
/** Ten minutes under ten times the load, and what CI runs: only if asked for by name. */
const special = ["overload", "guard"];
const names =
  named.length > 0 ? named : Object.keys(benches).filter((name) => !special.includes(name));
const json = options.includes("--json");

async function run(name: string): Promise<{ output: string; isStopped: boolean }> {
  const script = fileURLToPath(new URL(`${name}.ts`, import.meta.url));
  // With the heap size that services have.
  const node = name === "policies" ? nodeOptions : [];
  const child = spawn(process.execPath, [...node, script, ...options], {
    stdio: ["inherit", json ? "pipe" : "inherit", "inherit"],
  });
  let output = "";
  // Ctrl-C also reaches the benchmark, which ends what it started before it ends itself.
  const end = () => child.kill("SIGTERM");
  process.on("SIGINT", () => undefined).on("SIGTERM", end);
  child.stdout?.setEncoding("utf8").on("data", (text: string) => (output += text));
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  process.removeAllListeners("SIGINT").off("SIGTERM", end);
  if (code !== 0) process.exitCode = 1;
  return { output, isStopped: code === interrupted };
}

if (options.includes("--help")) {
  process.stdout.write(
    "npm run bench -- [name…] [--json] [options]\n\n" +
      "Without a name: all but overload and guard, one after the other. The suite sets up the peers itself:\n" +
      "Debian's packages are installed if we are root, and run as private copies on free ports of\n" +
      "127.0.0.1.\n\n",
  );
  for (const [name, text] of Object.entries(benches)) {
    process.stdout.write(`  ${name.padEnd(10)}${text}\n`);
  }
  process.stdout.write(
    "\nMost take --rounds N (7; a 95 % interval needs at least 6) and --size BYTES; those with\n" +
      "peers take --seconds N per round, and --connections N (32). docs/performance.md has them all.\n",
  );
} else {
  const reports: Record<string, unknown> = {};
  for (const name of names) {
    if (!json) process.stdout.write(`\n${name}: ${benches[name] ?? ""}\n`);
    const { output, isStopped } = await run(name);
    if (isStopped) break;
    if (json) reports[name] = output === "" ? null : (JSON.parse(output) as unknown);
  }
  if (json) process.stdout.write(`${JSON.stringify(reports, undefined, 2)}\n`);
}
