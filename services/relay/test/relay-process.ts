import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";
import { quickSettings } from "./running-relay.ts";
import { machineMs } from "../../../test/support/machine.ts";

/** So short that a test sees the end of the time in which nobody sends again (I8). */
export const shortTimeouts = {
  RELAY_TIMEOUT_CONNECT_MS: machineMs(300),
  RELAY_TIMEOUT_GREETING_MS: machineMs(300),
  RELAY_TIMEOUT_MAIL_MS: machineMs(300),
  RELAY_TIMEOUT_RCPT_MS: machineMs(300),
  RELAY_TIMEOUT_DATA_MS: machineMs(300),
  RELAY_TIMEOUT_BLOCK_MS: machineMs(300),
  RELAY_TIMEOUT_FINAL_MS: machineMs(1_200),
};

/**
 * The relay as a process, as in production, with its log on `stderr`; it is killed at the end of
 * the test if it still runs.
 */
export function relayProcess(db: string, settings: Record<string, string> = {}) {
  const main = fileURLToPath(new URL("../src/main.ts", import.meta.url));
  const child = spawn(process.execPath, [main], {
    env: { PATH: process.env.PATH, ...quickSettings(db, settings) },
    stdio: ["ignore", "inherit", "pipe"],
  });
  child.stderr.resume();
  onTestFinished(() => {
    child.kill("SIGKILL");
  });
  return child;
}
