import { rsAgent } from "./called-as.ts";
import { askedIn, checksOf, taskIn } from "@rs-agent/shared/checks/asked.ts";
import type { CheckKind } from "@rs-agent/shared/checks/verdict.ts";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import {
  kindOf,
  laneIn,
  laneOf,
  laneText,
  workerText,
  type Lane,
} from "@rs-agent/shared/mail/lane.ts";
import { nextStep } from "@rs-agent/shared/policy/disposition.ts";
import { isFromStrangers } from "@rs-agent/shared/mail/direction.ts";
import { holdCause, isTimeOver } from "@rs-agent/shared/life/endings.ts";
import { isUnreported } from "@rs-agent/shared/life/outcomes.ts";
import { adoptStep, isStub, isUnread } from "@rs-agent/shared/mail/stub.ts";
import type { PausableStep } from "@rs-agent/shared/store/controls.ts";
import { blockingFindings, quoted } from "./interventions.ts";
import { isNoMail, wayOutOf } from "./no-mail.ts";
import { routeText, whyNoWorker, type SeenSystem } from "./seen-system.ts";
import { field } from "./terminal.ts";
import { age, instant } from "./times.ts";

/** What will happen, what is in its way, or what a person has to do. */
export function nextAction(mail: MailRecord, now: Date, system?: SeenSystem): string {
  const { text, command } = actionOf(mail, now);
  return [
    field("next", command === undefined ? text : `${text}:`),
    ...(command === undefined ? [] : [command]),
    ...obstacles(mail, now, system).map((obstacle) => field("", obstacle)),
  ].join("\n");
}

interface Action {
  text: string;
  /** What a person may do about it, in lines that can be pasted into a shell. */
  command?: string;
}

function actionOf(mail: MailRecord, now: Date): Action {
  const { lease, state, dueAt } = mail;
  if (lease !== undefined && lease.until > now) {
    return { text: `${lease.owner} works on it now (lease until ${instant(lease.until)})` };
  }
  const due = dueAt === undefined || dueAt <= now ? "due now" : `due ${age(dueAt, now)}`;
  switch (state) {
    case "incoming":
      return { text: `waits for a dispatcher to ${isStub(mail) ? "read" : "plan"} it, ${due}` };
    case "processing":
      return { text: `waits for ${awaitedText(mail)}, ${due}${waitingSince(mail, now)}` };
    case "ready": {
      const hop = mail.next === undefined ? "its next hop" : routeText(mail.next);
      return { text: `waits for the relay to ${hop}, ${due}${givenUp(mail, now)}` };
    }
    case "relaying":
      return { text: `its last attempt's outcome is unknown; sent again ${due}` };
    case "held":
      if (mail.heldUntil !== undefined) {
        return { text: `held, tried again ${age(mail.heldUntil, now)}` };
      }
      return heldFor(mail, now);
    case "split":
      return { text: `its parts go their own way: ${rsAgent} explain tells each one's story` };
    default:
      return finalAction(mail, now);
  }
}

function awaitedText({ next }: MailRecord): string {
  const lane = laneIn(next);
  return lane === undefined ? (next ?? "a dispatcher") : laneText(lane);
}

/**
 * Only for a mail that was already tried: on the first try nobody needs to know when it would be
 * given up.
 */
function givenUp(mail: MailRecord, now: Date): string {
  const { plan, recipients } = mail;
  if (plan === undefined || !recipients.some(({ attempts }) => attempts > 0)) return "";
  const since = mail.queuedAt ?? mail.receivedAt;
  const over = age(new Date(since.getTime() + plan.relay.maxQueueMs), now);
  return isFromStrangers(mail) ? `; held for a person ${over}` : `; given up ${over}`;
}

function waitingSince({ uncheckedSince, plan }: MailRecord, now: Date): string {
  if (uncheckedSince === undefined) return "";
  const { check, reason, at } = uncheckedSince;
  const rule = askedIn(plan, check)?.unchecked[reason];
  const until = new Date(at.getTime() + (rule?.waitMs ?? 0));
  const end =
    rule?.action === "wait" ? `; ${rule.then ?? "quarantine"} by policy ${age(until, now)}` : "";
  return `; no ${check} verdict (${reason}) since ${instant(at)}${end}`;
}

function heldFor(mail: MailRecord, now: Date): Action {
  const { plan, body } = mail;
  const step = plan && nextStep({ ...mail, plan, rawSha256: body.sha256, now });
  if (mail.unknown !== undefined && step?.kind !== "hold") return unknownFor(mail);
  // What a person holds goes on by itself; what policy holds needs its finding overridden.
  if (step?.kind === "hold") return { text: "a person must act", command: releaseOf(mail, now) };
  const retry = `  ${rsAgent} retry-now ${mail._id}`;
  if (isTimeOver(mail)) return { text: timeOverText(mail), command: retry };
  if (plan === undefined || holdCause(mail) === "person") {
    return { text: "a person must act", command: retry };
  }
  return {
    text: "a person must act: try it again if its policy has been changed, or give it up",
    command: [retry, `  ${rsAgent} cancel ${mail._id}`].join("\n"),
  };
}

function timeOverText({ route }: MailRecord): string {
  const hop = `${route?.host ?? ""}:${String(route?.port ?? "")}`;
  return (
    `a person must act: see why ${hop} does not take it; ` +
    `then this starts its time again (${rsAgent} cancel gives it up)`
  );
}

function unknownFor({ _id, header, unknown }: MailRecord): Action {
  const what = header?.messageId === undefined ? "the mail" : header.messageId;
  return {
    text: `a person must act: look for ${what} in the log of ${unknown?.connection ?? "the hop"}; then one of`,
    command: [
      `  ${rsAgent} unknown settle ${_id} --as sent`,
      `  ${rsAgent} unknown resend ${_id}`,
    ].join("\n"),
  };
}

function releaseOf(mail: MailRecord, now: Date): string {
  const named = blockingFindings(mail, now).map(({ finding }) => `--override ${quoted(finding)}`);
  return [`  ${rsAgent} quarantine release ${mail._id}`, ...named].join(" \\\n    ");
}

function finalAction(mail: MailRecord, now: Date): Action {
  const { state, expireAt, _id } = mail;
  const kept = expireAt === undefined ? "kept forever" : `removed ${age(expireAt, now)}`;
  if (expireAt !== undefined && expireAt <= now) return { text: "removed by the next sweep" };
  if (state === "quarantined") {
    return { text: `nothing by itself, ${kept}; to let it pass`, command: releaseOf(mail, now) };
  }
  if (mail.recipients.some(isUnreported)) {
    const text = `nothing by itself, nobody was told, ${kept}; to try it again`;
    return { text, command: `  ${rsAgent} retry-now ${_id}` };
  }
  if (state !== "dead") return { text: `nothing, ${kept}` };
  if (isNoMail(mail)) return { text: `nothing by itself, ${kept}; ${wayOutOf(mail)}` };
  const again = isUnread(mail) ? "have its record read again" : "try it again";
  return {
    text: `nothing by itself, ${kept}; to ${again}`,
    command: `  ${rsAgent} dead retry ${_id}`,
  };
}

/** Why the next step does not come. */
function obstacles(mail: MailRecord, now: Date, system: SeenSystem | undefined): string[] {
  const step = awaitedStep(mail);
  if (system === undefined || step === undefined) return [];
  const lane = laneIn(step);
  const pausable = lane === undefined ? step : kindOf(lane);
  const paused = system.paused.find((pause) => pause.step === pausable);
  if (paused !== undefined) {
    const { by, at } = paused;
    return [
      `${pausable} is paused by ${by} (${age(at, now)}): to go on, ${rsAgent} resume ${pausable}`,
    ];
  }
  const service = step === "relay" ? "relay" : "dispatcher";
  if (!system.services.some((one) => one.service === service)) {
    return [`no ${service} has reported in the last 10 s`];
  }
  if (step === "relay") {
    const failing = system.routes.filter(({ route, failure }) => route === mail.next && failure);
    return failing.map(({ relay, failure }) => `${relay} cannot send there: ${failure ?? ""}`);
  }
  const why = lane === undefined ? undefined : whyNoWorker(lane, system);
  return lane === undefined || why === undefined ? [] : [`no ${workerText(lane)} is able: ${why}`];
}

/**
 * The step that the mail waits for; if a dispatcher holds it, the first step that it has not had.
 */
function awaitedStep(mail: MailRecord): Lane | PausableStep | undefined {
  const { state, next, plan, verdicts, lease } = mail;
  if (state === "ready" || state === "relaying") return "relay";
  if (state !== "incoming" && state !== "processing") return undefined;
  if (isStub(mail)) return adoptStep;
  if (lease === undefined) return laneIn(next) ?? "plan";
  const isMissing = (check: CheckKind) =>
    verdicts[check] === undefined && (plan === undefined || askedIn(plan, check) !== undefined);
  const kind = checksOf(mail).find(isMissing) ?? "enrich";
  return laneOf(kind, taskIn(plan, kind)?.settings);
}
