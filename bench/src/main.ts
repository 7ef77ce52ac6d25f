import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

/** `npm run bench -- [name…] [--json] [the benchmark's own options]`: one after the other. */
const benches: Record<string, string> = {
  bus: "dispatcher pool, ZeroMQ and a worker without an engine, beside raw PUSH/PULL",
  pipeline: "insert to relayed with workers without engines, beside the driver alone",
  overload: "arrivals at a multiple of the capacity: memory, replies, order, recovery",
  clamd: "our clamd client beside a bare IDSESSION loop",
};

const named = process.argv.slice(2).filter((word) => !word.startsWith("-") && word in benches);
const options = process.argv.slice(2).filter((word) => !named.includes(word));
/** Ten minutes under ten times the load: only where it is asked for by name. */
const long = ["overload"];
const names =
  named.length > 0 ? named : Object.keys(benches).filter((name) => !long.includes(name));
const json = options.includes("--json");

async function run(name: string): Promise<string> {
  const script = fileURLToPath(new URL(`${name}.ts`, import.meta.url));
  const child = spawn(process.execPath, [script, ...options], {
    stdio: ["inherit", json ? "pipe" : "inherit", "inherit"],
  });
  let output = "";
  child.stdout?.setEncoding("utf8").on("data", (text: string) => (output += text));
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  if (code !== 0) process.exitCode = 1;
  return output;
}

if (options.includes("--help")) {
  for (const [name, text] of Object.entries(benches)) {
    process.stdout.write(`${name.padEnd(10)}${text}\n`);
  }
} else {
  const reports: Record<string, unknown> = {};
  for (const name of names) {
    if (!json) process.stdout.write(`\n${name}: ${benches[name] ?? ""}\n`);
    const output = await run(name);
    if (json) reports[name] = output === "" ? null : (JSON.parse(output) as unknown);
  }
  if (json) process.stdout.write(`${JSON.stringify(reports, undefined, 2)}\n`);
}
