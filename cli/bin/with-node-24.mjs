// Runs on whatever Node the machine has (20 or later), so it is JavaScript, and short. The commands
// are TypeScript, which Node 24 runs as it is; an older Node hands over to the one in node_modules.
import { spawn } from "node:child_process";
import { existsSync, statSync } from "node:fs";
import * as module from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const neededMajor = 24;

/** Runs a script with this process's arguments and streams; its exit code becomes the process's. */
export async function runWithNode24(scriptUrl) {
  const script = fileURLToPath(scriptUrl);
  if (Number(process.versions.node.split(".")[0]) >= neededMajor) {
    keepCompiled(dirname(script));
    await import(scriptUrl.href);
    return;
  }
  const node = findNode(dirname(script));
  if (node === undefined) {
    process.stderr.write(
      `SETUP_MISSING: Node ${neededMajor} is needed; this is ${process.versions.node}, and node_modules has no other: npm install\n`,
    );
    process.exitCode = 2;
    return;
  }
  // Runs this file's caller once more, now on the right Node.
  const child = spawn(node, process.argv.slice(1), { stdio: "inherit" });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"])
    process.on(signal, () => child.kill(signal));
  child.on("exit", (code, signal) => {
    process.exitCode = code ?? (signal === "SIGINT" ? 130 : 143);
  });
}

/**
 * Keeps what Node has compiled, types stripped, in node_modules: this halves the time of a command.
 * Only for the owner of node_modules: nobody else may leave files there, or bring compiled code into
 * a place that others read.
 */
function keepCompiled(folder) {
  const packages = nearestPackages(folder);
  if (packages === undefined || statSync(packages).uid !== process.getuid?.()) return;
  module.enableCompileCache?.(join(packages, ".cache", "rs-agent-compiled"));
}

/** The binary of the npm package `node`, in the nearest node_modules that has one. */
function findNode(folder) {
  return findUpwards(folder, join("node_modules", "node", "bin", "node"));
}

function nearestPackages(folder) {
  return findUpwards(folder, "node_modules");
}

function findUpwards(folder, name) {
  const path = join(folder, name);
  if (existsSync(path)) return path;
  const parent = dirname(folder);
  return parent === folder ? undefined : findUpwards(parent, name);
}
