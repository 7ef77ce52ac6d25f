import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import { mkdir, readFile, rm } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { messageOf } from "@rs-agent/shared/errors.ts";
import { findProgram } from "@rs-agent/kit/processes/find-program.ts";
import { provideSystemPackages, thisHost, type Need } from "@rs-agent/kit/system-packages.ts";
import { run, type CommandEnd, type CommandOptions } from "./command.ts";

/** A container engine, and the clients that talk to it. */
export interface Engine {
  /** Its socket and the PATH, for scripts that call `docker`. */
  readonly env: NodeJS.ProcessEnv;
  /** True for our own engine: it can pull no image, and holds nobody else's. */
  readonly isPrivate: boolean;
  docker(args: readonly string[], options?: CommandOptions): Promise<CommandEnd>;
  stop(): Promise<void>;
}

const needed: Need[] = [
  { program: "dockerd", packages: ["docker.io"], units: ["docker.service", "docker.socket"] },
  { program: "docker-compose", packages: ["docker-compose"] },
  { program: "debootstrap", packages: ["debootstrap"] },
  { program: "iptables", packages: ["iptables"] },
  { program: "script", packages: ["bsdutils"] },
];

/** Why the test cannot run here, for a person. */
export interface Missing {
  missing: string;
}

/**
 * The engine that DOCKER_HOST names, as it is, with whatever registry it has; otherwise our own
 * dockerd in `dir`, which needs root.
 */
export async function openEngine(
  dir: string,
  report: (text: string) => void,
): Promise<Engine | Missing> {
  const path = thisHost(process.env["PATH"] ?? "", { report }).path;
  const given = process.env["DOCKER_HOST"];
  if (given !== undefined && given !== "") {
    const engine = clientOf({ ...process.env, PATH: path }, false, () => Promise.resolve());
    return engine.docker(["info"]).then(
      () => engine,
      (error: unknown) => ({
        missing: `DOCKER_HOST=${given} does not answer: ${messageOf(error)}`,
      }),
    );
  }
  if (process.getuid?.() !== 0)
    return { missing: "a container engine needs root (or DOCKER_HOST)" };
  try {
    await provideSystemPackages(needed, thisHost(process.env["PATH"] ?? "", { report }));
  } catch (error) {
    return { missing: messageOf(error) };
  }
  return startEngine(dir, path);
}

async function startEngine(dir: string, path: string): Promise<Engine | Missing> {
  await mkdir(dir, { recursive: true });
  const socket = `unix://${join(dir, "docker.sock")}`;
  const logFile = join(dir, "dockerd.log");
  // Debian's client fits Debian's daemon; another one may be earlier on the PATH.
  const env = {
    ...process.env,
    PATH: ["/usr/bin", "/usr/sbin", path].join(delimiter),
    DOCKER_HOST: socket,
    DOCKER_CONFIG: join(dir, "client"),
    DOCKER_BUILDKIT: "0",
  };
  const dockerd = await findProgram("dockerd", env.PATH);
  if (dockerd === undefined) return { missing: "no dockerd on the PATH" };
  const log = openSync(logFile, "w");
  const child = spawn(
    dockerd,
    [
      ["--host", socket],
      ["--data-root", join(dir, "data")],
      ["--exec-root", join(dir, "exec")],
      ["--pidfile", join(dir, "dockerd.pid")],
    ].flat(),
    { stdio: ["ignore", log, log], env, detached: true },
  );
  closeSync(log);
  const engine = clientOf(env, true, async () => stopEngine(child, dir));
  const why = await untilAnswers(engine, child);
  if (why === undefined) return engine;
  await stopEngine(child, dir);
  const said = (await readFile(logFile, "utf8")).trim().split("\n").slice(-4).join("\n  ");
  return { missing: `dockerd does not start here: ${why}\n  ${said}` };
}

/** Undefined once it answers, otherwise why it does not. */
async function untilAnswers(engine: Engine, child: ChildProcess): Promise<string | undefined> {
  const giveUpAt = performance.now() + 60_000;
  for (;;) {
    if (child.exitCode !== null) return `exit code ${child.exitCode}`;
    try {
      await engine.docker(["info"]);
      return undefined;
    } catch (error) {
      if (performance.now() > giveUpAt) return messageOf(error);
      await wait(250);
    }
  }
}

async function stopEngine(child: ChildProcess, dir: string): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) {
    const ended = once(child, "exit");
    child.kill("SIGTERM");
    await ended;
  }
  await rm(dir, { recursive: true, force: true });
}

function clientOf(env: NodeJS.ProcessEnv, isPrivate: boolean, stop: () => Promise<void>): Engine {
  return {
    env,
    isPrivate,
    docker: (args, options) => run("docker", args, { env, ...options }),
    stop,
  };
}
