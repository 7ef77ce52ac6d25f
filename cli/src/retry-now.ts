import { rsAgent } from "./called-as.ts";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import { isTimeOver, isUnreported } from "@rs-agent/shared/mail/state.ts";
import { nextStep } from "@rs-agent/shared/policy/disposition.ts";
import {
  backToWork,
  blockingFindings,
  demandState,
  entry,
  finalFields,
  isHeldByPerson,
  quoted,
  refused,
  reopened,
  type Actor,
  type Intervention,
} from "./interventions.ts";

/**
 * Due at once; held mail goes on, and its time in the queue begins anew. So does mail that failed and of
 * which nobody was told, for those recipients. An outcome that is unknown is waited for all the same (I8).
 */
export function retryNow(mail: MailRecord, actor: Actor): Intervention {
  if (mail.state === "bounced") return retryUnreported(mail, actor);
  if (mail.state === "held") {
    demandUse(mail, actor);
    return {
      states: ["held"],
      change: {
        set: { ...backToWork(mail, actor.now), queuedAt: actor.now },
        unset: ["heldUntil", "reason"],
        history: entry(actor, "taken up again"),
      },
      told: "no longer held, due now",
    };
  }
  const states = ["incoming", "processing", "ready", "relaying"] as const;
  demandState(mail, [...states, "held"], "be tried again");
  return {
    states: [mail.state],
    change: { set: { dueAt: actor.now }, history: entry(actor, "retry now") },
    told: "due now",
  };
}

/**
 * What would be held again at once, for the same reason, is not taken up.
 * @throws TerminalError CLI_REFUSED
 */
function demandUse(mail: MailRecord, { now, policyRevision }: Actor): void {
  const { plan, heldUntil, reason = "", unknown, _id } = mail;
  if (plan === undefined || isHeldByPerson(mail) || isTimeOver(mail)) return;
  const step = nextStep({ ...mail, plan, rawSha256: mail.body.sha256, now });
  const isSamePolicy = policyRevision === plan.revision;
  if (step.kind === "hold" && isSamePolicy) {
    const named = blockingFindings(mail, now).map(({ finding }) => `--override ${quoted(finding)}`);
    const way = `${rsAgent} quarantine release ${_id} ${named.join(" ")}`;
    throw refused(mail, `its policy holds it for what was found (${step.reason}); ${way}`);
  }
  if (unknown !== undefined && plan.relay.onUnknown === "hold" && isSamePolicy) {
    const way = `${rsAgent} unknown settle ${_id} --as sent, or ${rsAgent} unknown resend ${_id}`;
    throw refused(mail, `its policy holds what the next hop may have already; ${way}`);
  }
  if (heldUntil === undefined && reason !== "" && unknown === undefined && isSamePolicy) {
    const way = `change the policy that asks for it, or ${rsAgent} cancel ${_id}`;
    throw refused(mail, `it would be held again at once: ${reason}; ${way}`);
  }
}

function retryUnreported(mail: MailRecord, actor: Actor): Intervention {
  const addresses = mail.recipients.filter(isUnreported).map(({ address }) => address);
  if (addresses.length === 0) throw refused(mail, "its sender was told that it failed");
  return {
    states: ["bounced"],
    change: {
      set: {
        ...backToWork(mail, actor.now),
        queuedAt: actor.now,
        recipients: reopened(mail.recipients, isUnreported),
      },
      unset: finalFields,
      history: entry(actor, "taken up again", `nobody was told of ${addresses.join(", ")}`),
    },
    told: "no longer bounced, due now",
  };
}
