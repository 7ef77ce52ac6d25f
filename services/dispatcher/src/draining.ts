import { kindOf, laneIn } from "@rs-agent/shared/mail/lane.ts";
import type { TaskKind } from "@rs-agent/shared/checks/verdict.ts";
import type { Effect } from "./effects.ts";
import type { HeldMail } from "./held-mail.ts";
import type { HeldMails } from "./held-mails.ts";

/** Mail without a task at a worker goes back immediately; the rest as its results come. */
export async function drained(
  held: HeldMails,
  carryOut: (mail: HeldMail, back: Effect) => Promise<void>,
  signal: AbortSignal | undefined,
): Promise<void> {
  while (held.size > 0 && signal?.aborted !== true) {
    const idle = held.all().filter((mail) => !mail.over && mail.tasks.size === 0);
    await Promise.all(
      idle.map((mail) => carryOut(mail, { kind: "give back", step: stepOf(mail) })),
    );
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** What it is to wait for: as long as nothing else is known, what its record waits for. */
function stepOf({ asked, mail }: HeldMail): TaskKind | "plan" {
  const [first] = asked;
  const lane = laneIn(mail.next);
  return first ?? (lane === undefined ? "plan" : kindOf(lane));
}
