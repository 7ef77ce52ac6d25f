import { taskIn } from "@rs-agent/shared/checks/asked.ts";
import type { LostTask, TaskResult } from "@rs-agent/shared/bus/worker-pool.ts";
import { isEnrichResult, type AnsweredHead, type EnrichAnswer } from "@rs-agent/shared/bus/wire.ts";
import {
  enriched,
  strikesForgiven,
  struck,
  timed,
  unbegunCounted,
  verdictKnown,
} from "@rs-agent/shared/life/processing.ts";
import type { Enriched, MailRecord } from "@rs-agent/shared/mail/record.ts";
import { isTransient } from "@rs-agent/shared/checks/finding.ts";
import type { CheckKind, TaskKind, Verdict } from "@rs-agent/shared/checks/verdict.ts";
import { uncheckedVerdict, verdictsHashOf } from "@rs-agent/shared/policy/disposition.ts";
import type { Effect, Knowledge } from "./effects.ts";
import type { HeldMail } from "./held-mail.ts";
import { die, holdUnable } from "./mail-flow.ts";
import { verdictOf } from "./verdict-of.ts";

/** With this many strikes a mail is tried alone on one worker: a strike there is its last, success clears them. */
const strikesBeforeAlone = 2;

export function mustBeAlone({ strikes = 0 }: MailRecord): boolean {
  return strikes >= strikesBeforeAlone;
}

/**
 * Workers that died before they had begun a mail are not a strike: it merely waited there. But a mail
 * may also kill as soon as it is received; this many in a row count as one.
 */
const unbegunBeforeStrike = 3;
/** Times that an enrichment may fail before a person must look. */
const maxEnrichFailures = 3;

/** Takes in a result that the pool has matched to its task (I4). */
export function onResult(know: Knowledge, held: HeldMail, result: TaskResult): Effect[] {
  const { head } = result;
  held.note(timed(head.task, { queueMs: head.queueMs, workMs: head.workMs }));
  noteUnbegun(held, 0);
  const isAlone = result.task.alone === true;
  if (isAlone && isDone(head)) held.note(strikesForgiven);
  if (isEnrichResult(head)) return onEnrichResult(know, held, head, result.bytes);
  const verdict = verdictOf(head, result.engine, know.moment.now);
  held.note(verdictKnown(head.task, verdict));
  const known: Effect[] = [{ kind: "write soon" }, { kind: "share", check: head.task, verdict }];
  const { strikes = 0, from, task } = head;
  if (strikes === 0) return [...known, goOn];
  const how = "engine died or did not answer";
  known.push(strike(know, held, { task, count: strikes, by: from, begun: true, how }));
  return [...known, ...(isAlone ? giveUp(know, held, task) : [goOn])];
}

const goOn: Effect = { kind: "go on" };

/** Takes in the verdict that a sibling with the same bytes and settings got. */
export function adoptVerdict(held: HeldMail, check: CheckKind, verdict: Verdict): Effect[] {
  held.note(verdictKnown(check, verdict));
  return [{ kind: "write soon" }, goOn];
}

/** The mail has been worked on, whatever was found. */
function isDone({ output }: AnsweredHead): boolean {
  return output.kind !== "unchecked" || !isTransient(output.reason);
}

function strike(
  { moment: { now } }: Knowledge,
  held: HeldMail,
  facts: Omit<Parameters<typeof struck>[1], "now">,
): Effect {
  held.note(struck(held.mail, { ...facts, now }));
  return { kind: "count strikes", task: facts.task, count: facts.count };
}

/** It has killed while it was alone, so it was nothing else. */
function giveUp(know: Knowledge, held: HeldMail, kind: TaskKind): Effect[] {
  const { strikes = 0 } = held.mail;
  const text = `${String(strikes)} workers or engines died or hung on it, the last one alone with it in ${kind}`;
  return die(know, held, "workers-ended", text);
}

function onEnrichResult(
  know: Knowledge,
  held: HeldMail,
  head: EnrichAnswer,
  bytes: Buffer | undefined,
): Effect[] {
  const { output } = head;
  if (output.kind === "unable") {
    return holdUnable(know, held, output.reason, { forPerson: output.permanent === true });
  }
  if (bytes === undefined) return holdUnable(know, held, "the enricher sent no bytes");
  const made = (by: Knowledge, bytesOrBody: Pick<Enriched, "body" | "headerBlock">): Effect[] => {
    const { restOffset, sha256, size, signature, mailFrom, notes } = output;
    held.note(
      enriched({
        ...bytesOrBody,
        ...{ restOffset, sha256, size, notes },
        ...(signature !== undefined && { signature }),
        ...(mailFrom !== undefined && { mailFrom }),
        settingsHash: head.settingsHash,
        verdictsHash: verdictsHashOf(held.mail.verdicts, held.disposition),
        worker: head.from,
        queueMs: head.queueMs,
        workMs: head.workMs,
        at: by.moment.now,
      }),
    );
    return [goOn];
  };
  if (!output.bodyChanged) return made(know, { headerBlock: bytes });
  return [{ kind: "store body", bytes, then: (then, body) => made(then, { body }) }];
}

/**
 * No answer will come. A worker that died or hung over the mail is a strike against it; one that said
 * `failed` leaves the check `unchecked: engine-error`; whatever else happened, the mail goes back.
 */
export function onLost(know: Knowledge, held: HeldMail, lost: LostTask): Effect[] {
  const { kind, reason, workerId } = lost;
  if (reason === "failed") return onFailed(know, held, lost);
  const unbegun = unbegunAfter(lost, held.mail.unbegun);
  const how = whyStrike(lost, unbegun);
  noteUnbegun(held, unbegun < unbegunBeforeStrike ? unbegun : 0);
  const back: Effect = { kind: "give back", step: kind, reason: `${kind} worker lost: ${reason}` };
  if (how === undefined) return [back];
  const facts = { task: kind, count: 1, by: workerId, begun: lost.started, how };
  const struckOnce = strike(know, held, facts);
  const isAlone = lost.task.alone === true;
  return [struckOnce, ...(isAlone ? giveUp(know, held, kind) : [back])];
}

/** Why, in the worker's words where it said some. */
export function whyLost({ reason, failure }: LostTask): string {
  return failure === undefined ? reason : `${failure.code}: ${failure.detail}`;
}

/** Workers in a row that died before they had begun the mail, with this one. */
function unbegunAfter({ started, reason }: LostTask, before = 0): number {
  if (started) return 0;
  return isDeath(reason) ? before + 1 : before;
}

/** What counts against the mail: a death or a hang while it was worked on, or each time that it came. */
function whyStrike({ started, reason }: LostTask, unbegun: number): string | undefined {
  if (started) return isDeath(reason) || reason === "deadline" ? reason : undefined;
  if (unbegun < unbegunBeforeStrike) return undefined;
  return `${reason}, ${String(unbegun)} workers in a row before they began it`;
}

function isDeath(reason: LostTask["reason"]): boolean {
  return reason === "disconnect" || reason === "silent";
}

function noteUnbegun(held: HeldMail, unbegun: number): void {
  if (unbegun === (held.mail.unbegun ?? 0)) return;
  held.note(unbegunCounted(unbegun));
}

function onFailed(know: Knowledge, held: HeldMail, lost: LostTask): Effect[] {
  const { kind, workerId } = lost;
  const detail = whyLost(lost);
  if (kind !== "enrich") {
    const verdict = failedCheck(held, kind, detail, workerId, know.moment.now);
    held.note(verdictKnown(kind, verdict));
    return [goOn];
  }
  const isOften = (held.attempts.get(kind) ?? 0) >= maxEnrichFailures;
  return isOften ? holdUnable(know, held, detail) : [goOn];
}

function failedCheck(held: HeldMail, kind: CheckKind, detail: string, worker: string, now: Date) {
  return uncheckedVerdict({
    reason: "engine-error",
    detail: detail.slice(0, 1000),
    settingsHash: taskIn(held.plan, kind)?.settingsHash ?? "",
    sha256: held.mail.body.sha256,
    worker,
    now,
  });
}
