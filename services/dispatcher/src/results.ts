import { taskIn } from "@rs-agent/shared/checks/asked.ts";
import type { LostTask, TaskResult } from "@rs-agent/shared/bus/worker-pool.ts";
import {
  isEnrichResult,
  type AnsweredHead,
  type EnrichAnswer,
  type ResultHead,
} from "@rs-agent/shared/bus/wire.ts";
import {
  enriched as enrichedBy,
  strikesForgiven,
  struck,
  timed,
  unbegunCounted,
  verdictKnown,
} from "@rs-agent/shared/life/processing.ts";
import type { BodyRef, Enriched, MailRecord } from "@rs-agent/shared/mail/record.ts";
import { isTransient } from "@rs-agent/shared/checks/finding.ts";
import type { CheckKind, TaskKind, Verdict } from "@rs-agent/shared/checks/verdict.ts";
import { uncheckedVerdict, verdictsHashOf } from "@rs-agent/shared/policy/disposition.ts";
import { note, type HeldMail } from "./held-mail.ts";
import { advance, die, holdUnable, type MailFlowDeps } from "./mail-flow.ts";
import { verdictOf } from "./verdict-of.ts";

export interface ResultDeps extends MailFlowDeps {
  /** The held mail of a task that is at a worker; the task is taken off its list. */
  take: (taskId: string) => HeldMail | undefined;
  putBody: (held: HeldMail, raw: Buffer) => Promise<BodyRef>;
  giveBack: (held: HeldMail, next: ResultHead["task"], reason: string) => Promise<void>;
  /** Verdicts are written after a moment, together. */
  writeSoon: (held: HeldMail) => void;
  /** A check has ended: its verdict may be that of siblings too. */
  onVerdict: (held: HeldMail, kind: CheckKind, verdict: Verdict) => void;
  onStrikes: (kind: TaskKind, count: number) => void;
}

/** With this many strikes a mail is tried alone on one worker: a strike there is its last, success clears them. */
const strikesBeforeAlone = 2;

export function mustBeAlone({ strikes = 0 }: MailRecord): boolean {
  return strikes >= strikesBeforeAlone;
}

/**
 * Workers that died before they had begun a mail are no strike: it merely waited there. But a mail may
 * also kill as soon as it is received; this many in a row count as one.
 */
const unbegunBeforeStrike = 3;
/** Times that an enrichment may fail before a person must look. */
const maxEnrichFailures = 3;

/** Takes in a result that the pool has matched to its task (I4). */
export async function onResult(deps: ResultDeps, result: TaskResult): Promise<void> {
  const held = deps.take(result.taskId);
  if (held === undefined) return;
  const { head } = result;
  note(held, timed(head.task, { queueMs: head.queueMs, workMs: head.workMs }));
  noteUnbegun(held, 0);
  const isAlone = result.task.alone === true;
  if (isAlone && isDone(head)) note(held, strikesForgiven);
  if (isEnrichResult(head)) return onEnrichResult(deps, held, head, result.bytes);
  const verdict = verdictOf(head, result.engine, deps.clock.now());
  noteVerdict(deps, held, head.task, verdict);
  deps.onVerdict(held, head.task, verdict);
  const { strikes = 0, from } = head;
  if (strikes > 0) {
    const how = "engine died or did not answer";
    strike(deps, held, { task: head.task, count: strikes, by: from, begun: true, how });
    if (isAlone) return giveUp(deps, held, head.task);
  }
  await advance(deps, held);
}

/** Takes in the verdict that a sibling with the same bytes and settings got. */
export function adoptVerdict(
  deps: ResultDeps,
  held: HeldMail,
  kind: CheckKind,
  verdict: Verdict,
): Promise<void> {
  noteVerdict(deps, held, kind, verdict);
  return advance(deps, held);
}

function noteVerdict(
  deps: Pick<ResultDeps, "writeSoon">,
  held: HeldMail,
  kind: CheckKind,
  verdict: Verdict,
): void {
  note(held, verdictKnown(kind, verdict));
  deps.writeSoon(held);
}

/** The mail has been worked on, whatever was found. */
function isDone({ output }: AnsweredHead): boolean {
  return output.kind !== "unchecked" || !isTransient(output.reason);
}

function strike(
  deps: ResultDeps,
  held: HeldMail,
  facts: Omit<Parameters<typeof struck>[1], "now">,
): void {
  deps.onStrikes(facts.task, facts.count);
  note(held, struck(held.mail, { ...facts, now: deps.clock.now() }));
}

/** It has killed while it was alone, so it was nothing else. */
function giveUp(deps: ResultDeps, held: HeldMail, kind: TaskKind): Promise<void> {
  const { strikes = 0 } = held.mail;
  const text = `${String(strikes)} workers or engines died or hung on it, the last one alone with it in ${kind}`;
  die(deps, held, "workers-ended", text);
  return deps.finish(held);
}

async function onEnrichResult(
  deps: ResultDeps,
  held: HeldMail,
  head: EnrichAnswer,
  bytes: Buffer | undefined,
): Promise<void> {
  const { output } = head;
  if (output.kind === "unable") {
    return holdUnable(deps, held, output.reason, { forPerson: output.permanent === true });
  }
  if (bytes === undefined) return holdUnable(deps, held, "the enricher sent no bytes");
  const enriched: Enriched = {
    ...(output.bodyChanged ? { body: await deps.putBody(held, bytes) } : { headerBlock: bytes }),
    restOffset: output.restOffset,
    sha256: output.sha256,
    size: output.size,
    ...(output.signature === undefined ? {} : { signature: output.signature }),
    ...(output.mailFrom === undefined ? {} : { mailFrom: output.mailFrom }),
    settingsHash: head.settingsHash,
    notes: output.notes,
    verdictsHash: verdictsHashOf(held.mail.verdicts, held.disposition),
    worker: head.from,
    queueMs: head.queueMs,
    workMs: head.workMs,
    at: deps.clock.now(),
  };
  note(held, enrichedBy(enriched));
  await advance(deps, held);
}

/**
 * No answer will come. A worker that died or hung over the mail is a strike against it; one that said
 * `failed` leaves the check `unchecked: engine-error`; whatever else happened, the mail goes back.
 */
export async function onLost(deps: ResultDeps, lost: LostTask): Promise<void> {
  const held = deps.take(lost.taskId);
  if (held === undefined) return;
  const { kind, reason, workerId, failure } = lost;
  const said = failure === undefined ? reason : `${failure.code}: ${failure.detail}`;
  deps.log.warn({ mailId: lost.mailId, task: kind, worker: workerId, reason: said }, "task lost");
  if (reason === "failed") return onFailed(deps, held, kind, said, workerId);
  const unbegun = unbegunAfter(lost, held.mail.unbegun);
  const how = whyStrike(lost, unbegun);
  noteUnbegun(held, unbegun < unbegunBeforeStrike ? unbegun : 0);
  if (how !== undefined) {
    strike(deps, held, { task: kind, count: 1, by: workerId, begun: lost.started, how });
    if (lost.task.alone === true) return giveUp(deps, held, kind);
  }
  await deps.giveBack(held, kind, `${kind} worker lost: ${reason}`);
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
  note(held, unbegunCounted(unbegun));
}

async function onFailed(
  deps: ResultDeps,
  held: HeldMail,
  kind: TaskKind,
  detail: string,
  worker: string,
): Promise<void> {
  if (kind !== "enrich") {
    const now = deps.clock.now();
    note(held, verdictKnown(kind, failedCheck(held, kind, detail, worker, now)));
    return advance(deps, held);
  }
  if ((held.attempts.get(kind) ?? 0) >= maxEnrichFailures) return holdUnable(deps, held, detail);
  return advance(deps, held);
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
