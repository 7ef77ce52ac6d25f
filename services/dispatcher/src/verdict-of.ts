import type { CheckAnswer } from "@rs-agent/shared/bus/wire.ts";
import type { Engine } from "@rs-agent/shared/checks/finding.ts";
import type { Verdict } from "@rs-agent/shared/checks/verdict.ts";

/** The verdict that a check's result amounts to. */
export function verdictOf(result: CheckAnswer, engine: Engine | undefined, at: Date): Verdict {
  return {
    finding: result.output,
    ...(engine === undefined ? {} : { engine }),
    ...(result.blind === undefined ? {} : { blind: result.blind }),
    settingsHash: result.settingsHash,
    sha256: result.sha256,
    worker: result.from,
    queueMs: result.queueMs,
    workMs: result.workMs,
    at,
  };
}
