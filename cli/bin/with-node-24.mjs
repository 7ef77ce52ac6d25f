// Runs on whatever Node the machine has (20 or later), so it is JavaScript and short: our commands
// are TypeScript that Node 24 runs as it is; an older Node hands over to the one in node_modules.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const neededMajor = 24;

/** Runs a script of ours with this process's arguments, streams and, in the end, its exit code. */
export async function runWithNode24(scriptUrl) {
  if (Number(process.versions.node.split(".")[0]) >= neededMajor) {
    await import(scriptUrl.href);
    return;
  }
  const script = fileURLToPath(scriptUrl);
  const node = findNode(dirname(script));
  if (node === undefined) {
    process.stderr.write(
      `SETUP_MISSING: this is Node ${process.versions.node}, Node ${neededMajor} is needed, and node_modules has none: npm install\n`,
    );
    process.exitCode = 2;
    return;
  }
  const child = spawn(node, [script, ...process.argv.slice(2)], { stdio: "inherit" });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"])
    process.on(signal, () => child.kill(signal));
  child.on("exit", (code, signal) => {
    process.exitCode = code ?? (signal === "SIGINT" ? 130 : 143);
  });
}

/** The binary of the npm package `node`, in the nearest node_modules that has one. */
function findNode(folder) {
  const file = join(folder, "node_modules", "node", "bin", "node");
  if (existsSync(file)) return file;
  const parent = dirname(folder);
  return parent === folder ? undefined : findNode(parent);
}
