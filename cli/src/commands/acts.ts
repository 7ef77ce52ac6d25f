import { InvalidArgumentError, type Command } from "commander";
import { durationMs, durationSchema } from "@rs-agent/shared/duration.ts";
import { cancel, hold } from "../interventions.ts";
import { interveneAll } from "../intervene.ts";
import { retryNow } from "../retry-now.ts";
import { createPolicyComparison } from "../same-policy.ts";
import type { CliDeps } from "../session.ts";

/** What may be done to any mail that has not yet ended. */

export function addRetryNow(program: Command, deps: CliDeps): void {
  program
    .command("retry-now")
    .argument("<id...>")
    .action((ids: string[]) => {
      const isSamePolicy = createPolicyComparison();
      return interveneAll(deps, ids, async (mail, actor, { database }) =>
        retryNow(mail, { ...actor, isSamePolicy: await isSamePolicy(mail, database.policies) }),
      );
    });
}

export function addCancel(program: Command, deps: CliDeps): void {
  program
    .command("cancel")
    .argument("<id...>")
    .action((ids: string[]) => interveneAll(deps, ids, cancel));
}

export function addHold(program: Command, deps: CliDeps): void {
  program
    .command("hold")
    .argument("<id...>")
    .option("--for <duration>", "such as 2h; then the mail goes on by itself", parseDuration)
    .action((ids: string[], options: { for?: number }) =>
      interveneAll(deps, ids, (mail, actor) => hold(mail, actor, later(actor.now, options.for))),
    );
}

function later(now: Date, ms: number | undefined): Date | undefined {
  return ms === undefined ? undefined : new Date(now.getTime() + ms);
}

function parseDuration(text: string): number {
  const parsed = durationSchema.safeParse(text);
  if (parsed.success) return durationMs(parsed.data);
  throw new InvalidArgumentError("It must be a duration such as 30m, 4h or 7d.");
}
