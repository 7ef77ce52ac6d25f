// The first step of `npm start`, `npm test` and CI (`install`). It runs on Node 20 or later and needs
// no packages: it installs them, Node 24 among them, and hands over to that Node. Standard output is
// for the result (`--json`): everything here goes to standard error.
import { spawn } from "node:child_process";
import { existsSync, readFileSync, statSync } from "node:fs";
import { constants } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const lockFile = join(root, "package-lock.json");
const installedLockFile = join(root, "node_modules", ".package-lock.json");
const ownNode = join(root, "node_modules", ".bin", "node");
const scripts = {
  start: "start/src/main.ts",
  test: "start/src/test.ts",
  chaos: "chaos/src/main.ts",
  simulate: "test/simulation/main.ts",
  "mongo-build": "start/src/mongo-build.ts",
};
const oldestForTypes = 24;

function say(text) {
  process.stderr.write(`${text}\n`);
}

function fail(text) {
  say(text);
  process.exit(1);
}

/** True if node_modules does not hold what the lock file asks for. */
function packagesAreMissing() {
  if (!existsSync(installedLockFile)) return true;
  if (statSync(installedLockFile).mtimeMs >= statSync(lockFile).mtimeMs) return false;
  // A checkout makes the lock file new without changing it.
  const wanted = JSON.parse(readFileSync(lockFile, "utf8")).packages;
  const installed = JSON.parse(readFileSync(installedLockFile, "utf8")).packages;
  return Object.entries(wanted).some(
    ([path, { version, link, optional }]) =>
      path.includes("node_modules/") &&
      !optional &&
      (link ? installed[path]?.link !== true : installed[path]?.version !== version),
  );
}

/** Runs npm quietly; a line says so, at the start and again every few seconds. */
async function installPackages() {
  const npm = process.env.npm_execpath;
  const [command, before] = npm?.endsWith(".js") ? [process.execPath, [npm]] : ["npm", []];
  const args = [...before, "ci", "--include=dev", "--no-audit", "--no-fund", "--loglevel=error"];
  const startedAt = Date.now();
  const waiting = () => {
    const seconds = Math.round((Date.now() - startedAt) / 1000);
    const text = `installing npm packages${seconds === 0 ? "" : ` (${seconds} s)`}`;
    if (process.stderr.isTTY) process.stderr.write(`\r- ${text}`);
    else say(`- ${text}`);
  };
  waiting();
  const ticking = setInterval(waiting, process.stderr.isTTY ? 1_000 : 10_000);
  const child = spawn(command, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text) => (output = (output + text).slice(-4_000)));
  }
  const code = await new Promise((resolve) => {
    child.once("error", (error) => {
      output += error.message;
      resolve(1);
    });
    child.once("close", resolve);
  });
  clearInterval(ticking);
  if (process.stderr.isTTY) process.stderr.write("\n");
  if (code !== 0) {
    fail(
      `SETUP_FAILED: \`npm ci\` did not succeed:\n${output.trim()}\nIs the npm registry reachable?`,
    );
  }
}

function findNode() {
  if (existsSync(ownNode)) return ownNode;
  if (Number(process.versions.node.split(".")[0]) >= oldestForTypes) return process.execPath;
  return fail(
    `SETUP_MISSING: Node ${oldestForTypes} is needed; this is ${process.versions.node}, and the ` +
      "npm package `node` did not bring one (is npm's ignore-scripts on?). Install Node 24.",
  );
}

/** Runs the script in place of this process: with its streams, its signals and its exit code. */
function handOver(node, script, args) {
  const path = `${dirname(ownNode)}:${process.env.PATH ?? ""}`;
  const child = spawn(node, [join(root, script), ...args], {
    stdio: "inherit",
    env: { ...process.env, PATH: path },
  });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
    process.on(signal, () => child.kill(signal));
  }
  child.once("error", (error) => fail(`SETUP_FAILED: ${node} cannot be run: ${error.message}`));
  child.once("exit", (code, signal) => {
    process.exit(code ?? 128 + (constants.signals[signal] ?? 0));
  });
}

const [mode, ...args] = process.argv.slice(2);
const script = scripts[mode];
if (script === undefined && mode !== "install") {
  fail("usage: node start/bootstrap.mjs install|start|test|chaos|simulate|mongo-build [options]");
}
if (packagesAreMissing()) await installPackages();
if (script !== undefined) handOver(findNode(), script, args);
