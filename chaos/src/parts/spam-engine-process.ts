import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { RetryableError } from "@rs-agent/shared/errors.ts";
import { startChild, untilReady } from "@rs-agent/kit/processes/child.ts";
import type { Running } from "./part.ts";

const script = fileURLToPath(new URL("spam-engine.ts", import.meta.url));
const startWithinMs = 60_000;

/** A check that our spam engine answered, by itself or with what spamd said. */
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
  const child = startChild(process.execPath, [script, spamd], {
    readsOutput: true,
    stopWithinMs: 0,
  });
  if (child.stdout === null) throw new RetryableError("SETUP_FAILED", "our spam engine is mute");
  const lines = createInterface(child.stdout);
  const firstLine = async (signal: AbortSignal) =>
    String((await once(lines, "line", { signal }))[0]);
  const address = await untilReady(child, firstLine, { withinMs: startWithinMs });
  lines.on("line", (line: string) => {
    const [judge, mailId = ""] = line.split(" ");
    if (judge === "ours" || judge === "spamd") onJudged({ judge, mailId });
  });
  return { pid: child.pid, address, stop: child.stop };
}
