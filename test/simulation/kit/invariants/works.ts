import { isTaskOf, type CheckTask } from "@rs-agent/shared/bus/wire.ts";
import { askedIn } from "@rs-agent/shared/checks/asked.ts";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import { answeredIn, type CheckKind, type Verdict } from "@rs-agent/shared/checks/verdict.ts";
import type { Entry } from "../database/replica-set.ts";
import type { Work } from "../engines.ts";
import type { VirtualProcess } from "../virtual-time.ts";
import type { World } from "../world.ts";
import type { Leases } from "./leases.ts";

/** I4 and the poison lane: what engines do, and which verdicts result. */
export class Works {
  readonly #world: World;
  readonly #leases: Leases;
  readonly #all: Work[] = [];
  /** The verdict that a piece of work became. */
  readonly #counted = new Map<Work, string>();

  constructor(world: World, leases: Leases) {
    this.#world = world;
    this.#leases = leases;
  }

  /**
   * How often work on this mail yielded nothing: its worker died, it hung, or nobody heard the
   * answer.
   */
  lostOn(mailId: string): number {
    const isLost = (work: Work) => work.task.mailId === mailId && !this.#counted.has(work);
    return this.#all.filter(isLost).length;
  }

  /**
   * One engine does no more at once than it announced, is the one that was asked for, and has a
   * suspect alone.
   */
  onBegun(work: Work): void {
    const { mailId, task, alone } = work.task;
    if (isTaskOf(work.task, "spam")) this.#checkEngine(work, work.task);
    const beside = this.#all.filter(
      ({ worker, endedMs }) => worker === work.worker && endedMs === undefined,
    );
    if (beside.length >= this.#world.settings.concurrency) {
      this.#broken("I7", mailId, `${work.worker.name} does more at once than it takes`);
    }
    if (beside.some((one) => one.task.mailId === mailId && !one.isDeaf)) {
      this.#broken("poison", mailId, `${work.worker.name} is still busy with it`);
    }
    if (beside.length > 0 && (alone === true || beside.some((one) => one.task.alone === true))) {
      this.#broken("poison", mailId, `${work.worker.name} does other work during a suspect's`);
    }
    this.#all.push(work);
    this.#world.note(`${work.worker.name} begins ${task}`, mailId);
  }

  /** No engine judges the mail but the one that its policy names. */
  #checkEngine({ worker, engineName }: Work, { mailId, settings }: CheckTask<"spam">): void {
    if (settings.engine === undefined || settings.engine === engineName) return;
    this.#broken("policy", mailId, `${worker.name} is given a mail for ${settings.engine}`);
  }

  /** No suspect is there when another mail kills the worker by coming in. */
  onKilledBy(sha256: string, killed: VirtualProcess): void {
    for (const { worker, endedMs, task } of this.#all) {
      const isVictim = worker === killed && endedMs === undefined && task.sha256 !== sha256;
      if (isVictim && task.alone === true) {
        this.#broken("poison", task.mailId, `${killed.name} is sent other work during a suspect's`);
      }
    }
  }

  onDone({ task, worker, output }: Work): void {
    this.#world.note(`${worker.name} says ${output?.kind ?? "nothing"}`, task.mailId);
  }

  /** A verdict is what a worker said in answer to a task of this claim, and counts once. */
  onWrite(entry: Entry, before: MailRecord, after: MailRecord): void {
    for (const check of answeredIn(after.verdicts)) {
      const verdict = after.verdicts[check];
      const old = before.verdicts[check];
      if (verdict === undefined || verdict === old) continue;
      const isSame = old?.at.getTime() === verdict.at.getTime() && old.worker === verdict.worker;
      // An unchecked verdict may be the dispatcher's own.
      if (!isSame && verdict.finding.kind !== "unchecked")
        this.#checkOrigin(entry, { before, after }, check, verdict);
    }
  }

  #checkOrigin(
    { id, by }: Entry,
    { before, after }: { before: MailRecord; after: MailRecord },
    check: CheckKind,
    verdict: Verdict,
  ): void {
    const asker = verdict.askedFor ?? id;
    if (asker !== id) this.#checkSibling(after, check, asker);
    const name = `${asker} ${check} ${verdict.at.getTime()} ${by?.name ?? ""}`;
    const fitting = this.#all.filter(
      (one) =>
        one.task.mailId === asker &&
        one.task.task === check &&
        one.task.sha256 === after.body.sha256 &&
        one.task.settingsHash === askedIn(after.plan, check)?.settingsHash &&
        one.worker.name === verdict.worker &&
        one.output?.kind === verdict.finding.kind &&
        (this.#counted.get(one) ?? name) === name,
    );
    const claimedMs = asker === id ? this.#leases.claimedMs(before) : 0;
    const work = fitting.find(({ beganMs }) => beganMs >= claimedMs);
    if (work !== undefined) this.#counted.set(work, name);
    else if (fitting.length > 0) {
      this.#broken("I4", id, `a ${check} verdict from a task of an earlier claim`);
    } else this.#broken("I4", id, `a ${check} verdict that no task of it has given`);
  }

  /** Only parts of one split mail share a check. */
  #checkSibling({ _id, parentId }: MailRecord, check: CheckKind, asker: string): void {
    const sibling = this.#world.set.local("mails").get(asker);
    if (parentId === undefined || sibling?.["parentId"] !== parentId)
      this.#broken("I4", _id, `a ${check} verdict of ${asker}, which is not part of the same mail`);
  }

  #broken(invariant: string, mailId: string, text: string): void {
    this.#world.violate({ invariant, mailId, text });
  }
}
