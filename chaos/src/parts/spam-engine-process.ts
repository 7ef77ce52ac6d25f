import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { RetryableError } from "@rs-agent/shared/errors.ts";
import type { Running } from "./part.ts";

const script = fileURLToPath(new URL("spam-engine.ts", import.meta.url));

/** A check that our spam engine has answered, by itself or by what spamd said. */
export interface Judged {
  judge: "ours" | "spamd";
  /** The id in the mail's newest Received field. */
  mailId: string;
}

/** Starts spam-engine.ts as a process of its own, with a spamd (`host:port`) behind it. */
export async function startSpamEngine(
  spamd: string,
  onJudged: (judged: Judged) => void,
): Promise<Running> {
  const child = spawn(process.execPath, [script, spamd], {
    stdio: ["ignore", "pipe", "ignore"],
    detached: true,
  });
  const ended = once(child, "close").catch(() => undefined);
  const lines = createInterface(child.stdout);
  const first = await Promise.race([once(lines, "line"), ended]);
  const address: unknown = first?.[0];
  if (typeof address !== "string" || child.pid === undefined) {
    throw new RetryableError("SETUP_FAILED", "our spam engine did not start");
  }
  lines.on("line", (line: string) => {
    const [judge, mailId = ""] = line.split(" ");
    if (judge === "ours" || judge === "spamd") onJudged({ judge, mailId });
  });
  return {
    pid: child.pid,
    address,
    stop: async () => {
      child.kill("SIGKILL");
      await ended;
    },
  };
}
