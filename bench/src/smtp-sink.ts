import { spawn, spawnSync } from "node:child_process";
import { connect } from "node:net";
import { TerminalError } from "@rs-agent/shared/errors.ts";
import { freePort } from "@rs-agent/start/free-port.ts";

/** postfix's smtp-sink: takes every mail and throws it away. */
export interface SmtpSink {
  address: string;
  pid: number;
  stop(): void;
}

/** @throws TerminalError SETUP_MISSING */
export async function startSmtpSink(): Promise<SmtpSink> {
  const program = ["/usr/sbin/smtp-sink", "smtp-sink"].find(
    (path) => spawnSync(path, ["-h"]).error === undefined,
  );
  if (program === undefined) {
    throw new TerminalError("SETUP_MISSING", "smtp-sink is not installed: apt-get install postfix");
  }
  const port = await freePort();
  const user = process.getuid?.() === 0 ? ["-u", "nobody"] : [];
  const child = spawn(program, [...user, `127.0.0.1:${port}`, "1000"], { stdio: "ignore" });
  const { pid } = child;
  if (pid === undefined) throw new TerminalError("SETUP_FAILED", "smtp-sink did not start");
  await untilListening(port);
  return { address: `127.0.0.1:${port}`, pid, stop: () => child.kill() };
}

async function untilListening(port: number): Promise<void> {
  for (let left = 100; left > 0; left -= 1) {
    const heard = await new Promise<boolean>((resolve) => {
      const socket = connect(port, "127.0.0.1", () => {
        socket.end();
        resolve(true);
      });
      socket.on("error", () => resolve(false));
    });
    if (heard) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new TerminalError("SETUP_FAILED", `smtp-sink does not listen on port ${port}`);
}
