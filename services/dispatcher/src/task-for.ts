import { taskIn } from "@rs-agent/shared/checks/asked.ts";
import type { TaskToPlace } from "@rs-agent/shared/bus/worker-pool.ts";
import type { BodyRef } from "@rs-agent/shared/mail/record.ts";
import type { TaskKind } from "@rs-agent/shared/checks/verdict.ts";
import type { DispatcherConfig } from "./config.ts";
import { type HeldMail } from "./held-mail.ts";
import { mustBeAlone } from "./results.ts";

type Deadlines = Pick<DispatcherConfig, "TASK_DEADLINE_MS" | "TASK_DEADLINE_PER_MB_MS">;

/** Milliseconds that a task with this mail may take. */
export function deadlineFor({ size }: Pick<BodyRef, "size">, deadlines: Deadlines): number {
  return deadlines.TASK_DEADLINE_MS + (size / 1_000_000) * deadlines.TASK_DEADLINE_PER_MB_MS;
}

/** The task of this kind that the mail's plan asks for; workers need nothing beside it. */
export function taskFor(held: HeldMail, kind: TaskKind, deadlines: Deadlines): TaskToPlace {
  const { mail, plan } = held;
  const common = {
    mailId: mail._id,
    attempt: (held.attempts.get(kind) ?? 0) + 1,
    sha256: mail.body.sha256,
    size: mail.body.size,
    deadlineMs: deadlineFor(mail.body, deadlines),
    smtp: mail.smtp,
  };
  const asked = taskIn(plan, kind);
  if (asked === undefined) throw new Error(`the plan of ${mail._id} asks for no ${kind} task`);
  const { settings, settingsHash } = asked;
  return {
    ...common,
    settings,
    settingsHash,
    ...(kind === "enrich" ? { verdicts: mail.verdicts, disposition: held.disposition } : {}),
    ...(mustBeAlone(mail) ? { alone: true } : {}),
  };
}
