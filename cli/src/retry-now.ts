import { rsAgent } from "./called-as.ts";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import { holdCause } from "@rs-agent/shared/life/endings.ts";
import { hurried, takenUp, unreportedTakenUp } from "@rs-agent/shared/life/interventions.ts";
import { isUnreported } from "@rs-agent/shared/life/outcomes.ts";
import { nextStep } from "@rs-agent/shared/policy/disposition.ts";
import {
  blockingFindings,
  demandState,
  quoted,
  refused,
  type Actor,
  type Intervention,
} from "./interventions.ts";

/**
 * Makes mail due immediately. Held mail goes on, and its time in the queue starts again; so does
 * failed mail of which nobody was told, for those recipients. Even so, the relay waits before it
 * resends after an unknown outcome (I8).
 */
export function retryNow(mail: MailRecord, actor: Actor): Intervention {
  if (mail.state === "bounced") return retryUnreported(mail, actor);
  if (mail.state === "held") {
    demandUse(mail, actor);
    return { states: ["held"], change: takenUp(mail, actor), told: "no longer held, due now" };
  }
  demandState(mail, "be tried again", "hurried", "takenUp");
  return { states: [mail.state], change: hurried(mail, actor), told: "due now" };
}

/**
 * Refuses what would immediately be held again for the same reason.
 * @throws TerminalError CLI_REFUSED
 */
function demandUse(mail: MailRecord, { now, isSamePolicy = false }: Actor): void {
  const { plan, heldUntil, reason = "", unknown, _id } = mail;
  const cause = holdCause(mail);
  if (plan === undefined || cause === "person" || cause === "time-over") return;
  const step = nextStep({ ...mail, plan, rawSha256: mail.body.sha256, now });
  if (step.kind === "hold" && isSamePolicy) {
    const named = blockingFindings(mail, now).map(({ finding }) => `--override ${quoted(finding)}`);
    const way = `${rsAgent} quarantine release ${_id} ${named.join(" ")}`;
    throw refused(mail, `its policy holds it for what was found (${step.reason}); ${way}`);
  }
  if (unknown !== undefined && plan.relay.onUnknown === "hold" && isSamePolicy) {
    const way = `${rsAgent} unknown settle ${_id} --as sent, or ${rsAgent} unknown resend ${_id}`;
    throw refused(mail, `its policy holds what the next hop may have already; ${way}`);
  }
  if (cause !== undefined && heldUntil === undefined && unknown === undefined && isSamePolicy) {
    const way = `change the policy that asks for it, or ${rsAgent} cancel ${_id}`;
    throw refused(mail, `it would be held again immediately: ${reason}; ${way}`);
  }
}

function retryUnreported(mail: MailRecord, actor: Actor): Intervention {
  if (!mail.recipients.some(isUnreported)) {
    throw refused(mail, "its sender was told that it failed");
  }
  const change = unreportedTakenUp(mail, actor);
  return { states: ["bounced"], change, told: "no longer bounced, due now" };
}
