import { execFile } from "node:child_process";
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, it } from "vitest";

const bootstrap = fileURLToPath(new URL("../bootstrap.mjs", import.meta.url));
let dir: string;

/** A project with one package, and an npm that installs it like `npm ci`, or fails. */
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "rs-agent-test-bootstrap-"));
  mkdirSync(join(dir, "start", "src"), { recursive: true });
  copyFileSync(bootstrap, join(dir, "start", "bootstrap.mjs"));
  writeLock("1.0.0");
  const main = `console.log(JSON.stringify(process.argv.slice(2))); process.exitCode = 3;`;
  writeFileSync(join(dir, "start", "src", "main.ts"), main);
  writeFileSync(
    join(dir, "npm.js"),
    `const fs = require("fs");
     fs.appendFileSync("npm.log", process.argv.slice(2).join(" ") + "\\n");
     console.log("npm prints this");
     if (fs.existsSync("no-registry")) { console.error("npm error ENOTFOUND"); process.exit(1); }
     fs.mkdirSync("node_modules/.bin", { recursive: true });
     fs.copyFileSync("package-lock.json", "node_modules/.package-lock.json");`,
  );
});

afterEach(() => rmSync(dir, { recursive: true }));

function writeLock(version: string, links = {}): void {
  const packages = { "": { name: "x" }, "node_modules/a": { version }, ...links };
  writeFileSync(join(dir, "package-lock.json"), JSON.stringify({ packages }));
}

interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}

function runIn(cwd: string, env: NodeJS.ProcessEnv, file: string, args: string[]): Promise<Ended> {
  return new Promise((resolve) => {
    execFile(file, args, { env, cwd }, (error, stdout, stderr) => {
      resolve({ code: Number(error?.code ?? 0), stdout, stderr });
    });
  });
}

function run(...args: string[]): Promise<Ended> {
  const env = { ...process.env, npm_execpath: join(dir, "npm.js") };
  return runIn(dir, env, process.execPath, [join(dir, "start", "bootstrap.mjs"), ...args]);
}

/** The real npm, as a person calls it: settings of an outer npm do not count. */
function npm(cwd: string, ...args: string[]): Promise<Ended> {
  const { PATH, HOME } = process.env;
  return runIn(cwd, { PATH, HOME }, "npm", args);
}

const npmCalls = () => readFileSync(join(dir, "npm.log"), "utf8").trim().split("\n");

it("installs the packages, says what is being waited for, and hands over arguments and exit code", async () => {
  const { code, stdout, stderr } = await run("start", "--exit", "--json");
  expect(stdout).toBe('["--exit","--json"]\n');
  expect(code).toBe(3);
  expect(stderr).toBe("- installing npm packages\n");
  expect(npmCalls()).toEqual(["ci --include=dev --no-audit --no-fund --loglevel=error"]);
});

it("installs nothing if the packages are those of the lock file", async () => {
  await run("start");
  const later = new Date(Date.now() + 10_000);
  utimesSync(join(dir, "package-lock.json"), later, later);
  await run("start");
  expect(npmCalls()).toHaveLength(1);
});

it("installs again if the lock file asks for something else", async () => {
  await run("start");
  writeLock("1.0.1");
  const later = new Date(Date.now() + 10_000);
  utimesSync(join(dir, "package-lock.json"), later, later);
  await run("start");
  expect(npmCalls()).toHaveLength(2);
});

it("installs again if a workspace of our own is new", async () => {
  await run("start");
  writeLock("1.0.0", { "node_modules/own": { resolved: "own", link: true } });
  const later = new Date(Date.now() + 10_000);
  utimesSync(join(dir, "package-lock.json"), later, later);
  await run("start");
  expect(npmCalls()).toHaveLength(2);
});

it("uses the Node of the packages", async () => {
  await run("start");
  writeFileSync(
    join(dir, "node"),
    `#!/bin/sh\necho "own node: $1" | sed 's|.*/|own node runs |'\n`,
    { mode: 0o755 },
  );
  symlinkSync(join(dir, "node"), join(dir, "node_modules", ".bin", "node"));
  expect((await run("start")).stdout).toBe("own node runs main.ts\n");
});

it("gives npm's last words if it fails", async () => {
  writeFileSync(join(dir, "no-registry"), "");
  const { code, stderr } = await run("start");
  expect(code).toBe(1);
  expect(stderr).toContain("SETUP_FAILED: `npm ci` did not succeed");
  expect(stderr).toContain("npm error ENOTFOUND");
});

it("is what npm start runs: npm's own words precede the document, unless it is told to be silent", async () => {
  const scripts = { start: "node start/bootstrap.mjs start" };
  writeFileSync(
    join(dir, "package.json"),
    JSON.stringify({ name: "x", version: "1.0.0", scripts }),
  );
  await run("install");
  symlinkSync(process.execPath, join(dir, "node_modules", ".bin", "node"));
  const silent = await npm(dir, "start", "--silent", "--", "--exit", "--json");
  expect(silent).toMatchObject({ code: 3, stdout: '["--exit","--json"]\n' });
  expect((await npm(dir, "start", "--", "--json")).stdout).toMatch(
    /^\n> x@1.0.0 start\n.*\["--json"\]\n$/s,
  );
});

it("does not change npm's own words: npm lists scripts, and says which one failed", async () => {
  const project = fileURLToPath(new URL("../..", import.meta.url));
  expect((await npm(project, "run")).stdout).toContain("node start/bootstrap.mjs start");
  const { stderr } = await npm(project, "run", "no-such-script");
  expect(stderr).toContain('Missing script: "no-such-script"');
});
