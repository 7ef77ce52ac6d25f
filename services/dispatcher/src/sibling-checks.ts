import { taskIn } from "@rs-agent/shared/checks/asked.ts";
import { isTransient } from "@rs-agent/shared/checks/finding.ts";
import type { CheckKind, Verdict } from "@rs-agent/shared/checks/verdict.ts";
import { laneFor, type HeldMail } from "./held-mail.ts";

export interface SiblingChecksDeps {
  monotonicMs: () => number;
  /** How long a mail waits for its sibling's verdict, in milliseconds. */
  patienceMs: (held: HeldMail, kind: CheckKind) => number;
  /** The sibling has left without a verdict: the mail is to ask, or wait for another one. */
  askAgain: (held: HeldMail, kind: CheckKind) => void;
  /** Nobody is waited for any longer. */
  askForItself: (held: HeldMail, kind: CheckKind) => void;
  /** The verdict that the sibling got is the mail's too. */
  adopt: (held: HeldMail, kind: CheckKind, verdict: Verdict) => void;
}

interface Check {
  readonly kind: CheckKind;
  /** For whom the engine is asked. */
  readonly asker: HeldMail;
  /** Who waits for its verdict, until when (monotonic milliseconds). */
  readonly waiting: Map<HeldMail, number>;
  answer: { verdict: Verdict; keptUntilMs: number } | undefined;
}

/** Siblings are claimed closely after each other; so long a verdict waits for those that come later. */
const keptMs = 60_000;
const maxChecks = 10_000;

/**
 * The parts of a split mail have the same bytes. Where engine, settings and user of a check are the
 * same too, one of them asks and the others of this dispatcher wait for its verdict. Mail that has
 * strikes asks for itself: it is no good company.
 */
export class SiblingChecks {
  readonly #deps: SiblingChecksDeps;
  /** In the order in which they were begun. */
  readonly #checks = new Map<string, Check>();

  constructor(deps: SiblingChecksDeps) {
    this.#deps = deps;
  }

  /** True: the mail need not ask, `adopt` or `ask…` follows. */
  join(held: HeldMail, kind: CheckKind): boolean {
    const key = keyOf(held, kind);
    if (key === undefined) return false;
    const check = this.#checks.get(key);
    if (check === undefined) {
      this.#begin(key, held, kind);
      return false;
    }
    const { asker, answer, waiting } = check;
    // What it was told in an earlier claim does not count in this one (I4).
    if (asker.mail._id === held.mail._id) return false;
    if (answer !== undefined) {
      queueMicrotask(() => this.#deps.adopt(held, kind, answer.verdict));
      return true;
    }
    if (asker.over) return false;
    waiting.set(held, this.#deps.monotonicMs() + this.#deps.patienceMs(held, kind));
    return true;
  }

  /** A check that this mail asked for has ended. One that could not be made says nothing to others. */
  onVerdict(held: HeldMail, kind: CheckKind, verdict: Verdict): void {
    const { finding } = verdict;
    if (finding.kind === "unchecked" && isTransient(finding.reason)) return;
    const check = this.#checks.get(keyOf(held, kind) ?? "");
    if (check?.asker !== held) return;
    const shared = { ...verdict, askedFor: held.mail._id };
    check.answer = { verdict: shared, keptUntilMs: this.#deps.monotonicMs() + keptMs };
    for (const sibling of take(check.waiting)) this.#deps.adopt(sibling, kind, shared);
  }

  /** Called by a timer: nobody waits longer than it would for an answer of its own. */
  expire(): void {
    const now = this.#deps.monotonicMs();
    for (const [key, { kind, waiting, answer }] of this.#checks) {
      if (answer !== undefined && answer.keptUntilMs <= now) this.#checks.delete(key);
      for (const [held, untilMs] of waiting) {
        if (untilMs > now) continue;
        waiting.delete(held);
        if (!held.over) this.#deps.askForItself(held, kind);
      }
    }
  }

  #begin(key: string, asker: HeldMail, kind: CheckKind): void {
    const check: Check = { kind, asker, waiting: new Map(), answer: undefined };
    this.#checks.set(key, check);
    void asker.left.then(() => this.#onLeft(key, check));
    if (this.#checks.size <= maxChecks) return;
    for (const [oldest, { answer }] of this.#checks) {
      if (answer === undefined) continue;
      this.#checks.delete(oldest);
      return;
    }
  }

  #onLeft(key: string, check: Check): void {
    if (check.answer !== undefined || this.#checks.get(key) !== check) return;
    this.#checks.delete(key);
    for (const sibling of take(check.waiting)) this.#deps.askAgain(sibling, check.kind);
  }
}

/** What has to be the same; undefined if nothing is shared. */
function keyOf(held: HeldMail, kind: CheckKind): string | undefined {
  const { parentId, strikes = 0, body } = held.mail;
  const asked = taskIn(held.plan, kind);
  if (parentId === undefined || asked === undefined || strikes > 0) return undefined;
  return [parentId, laneFor(held, kind), asked.settingsHash, body.sha256].join(" ");
}

function take(waiting: Map<HeldMail, number>): HeldMail[] {
  const siblings = [...waiting.keys()].filter(({ over }) => !over);
  waiting.clear();
  return siblings;
}
