import { kindOf, laneIn } from "@rs-agent/shared/mail/lane.ts";
import type { TaskKind } from "@rs-agent/shared/checks/verdict.ts";
import type { HeldMail } from "./held-mail.ts";
import type { HeldMails } from "./held-mails.ts";

/** Mail without a task at a worker goes back immediately; the rest as its results come. */
export async function drained(
  held: HeldMails,
  giveBack: (mail: HeldMail, next: TaskKind | "plan") => Promise<void>,
  signal: AbortSignal | undefined,
): Promise<void> {
  while (held.size > 0 && signal?.aborted !== true) {
    const idle = held.all().filter((mail) => !mail.over && mail.tasks.size === 0);
    await Promise.allSettled(
      idle.map((mail) => giveBack(mail, [...mail.asked][0] ?? nextOf(mail))),
    );
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Under which `next` the record waits as long as nothing else is known. */
function nextOf(mail: HeldMail): TaskKind | "plan" {
  const lane = laneIn(mail.mail.next);
  return lane === undefined ? "plan" : kindOf(lane);
}
