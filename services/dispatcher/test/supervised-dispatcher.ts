import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";
import type { Bench } from "./in-process.ts";

const main = fileURLToPath(new URL("../src/main.ts", import.meta.url));

/** A dispatcher in a process of its own that is restarted whenever it ends. */
export function superviseDispatcher({ settings }: Bench, env: NodeJS.ProcessEnv) {
  let child: ChildProcess | undefined;
  let starts = 0;
  let isOver = false;
  const kill = () => child?.kill("SIGKILL");
  const start = () => {
    starts += 1;
    child = spawn(process.execPath, [main], {
      env: { PATH: process.env.PATH, ...settings, ...env },
      stdio: "ignore",
    });
    child.on("exit", () => {
      if (!isOver) start();
    });
  };
  start();
  onTestFinished(async () => {
    isOver = true;
    kill();
    if (child?.exitCode === null && child.signalCode === null) await once(child, "exit");
  });
  return { kill, starts: () => starts };
}
