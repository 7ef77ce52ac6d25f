import { taskIn } from "@rs-agent/shared/checks/asked.ts";
import { isTransient } from "@rs-agent/shared/checks/finding.ts";
import type { CheckKind, Verdict } from "@rs-agent/shared/checks/verdict.ts";
import type { Decision, Effect } from "./effects.ts";
import { laneFor, type HeldMail } from "./held-mail.ts";

export interface SiblingChecksDeps {
  monotonicMs: () => number;
  /** How long a mail waits for its sibling's verdict, in milliseconds. */
  patienceMs: (held: HeldMail) => number;
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
  /** The keys under which a mail asks. */
  readonly #keys = new Map<HeldMail, string[]>();

  constructor(deps: SiblingChecksDeps) {
    this.#deps = deps;
  }

  /** A mail needs this check: it asks, has the answer of a sibling, or waits for that. */
  join(held: HeldMail, kind: CheckKind): Effect[] {
    const alone: Effect[] = [{ kind: "ask alone", task: kind }];
    const key = keyOf(held, kind);
    if (key === undefined) return alone;
    const check = this.#checks.get(key);
    if (check === undefined) {
      this.#begin(key, held, kind);
      return alone;
    }
    const { asker, answer, waiting } = check;
    // What it was told in an earlier claim does not count in this one (I4).
    if (asker.mail._id === held.mail._id || (answer === undefined && asker.over)) return alone;
    held.asked.add(kind);
    if (answer !== undefined) return [{ kind: "adopt", check: kind, verdict: answer.verdict }];
    waiting.set(held, this.#deps.monotonicMs() + this.#deps.patienceMs(held));
    return [];
  }

  /** A check that this mail asked for has ended. One that could not be made says nothing to others. */
  onVerdict(held: HeldMail, kind: CheckKind, verdict: Verdict): Decision[] {
    const { finding } = verdict;
    if (finding.kind === "unchecked" && isTransient(finding.reason)) return [];
    const check = this.#checks.get(keyOf(held, kind) ?? "");
    if (check?.asker !== held) return [];
    const shared = { ...verdict, askedFor: held.mail._id };
    check.answer = { verdict: shared, keptUntilMs: this.#deps.monotonicMs() + keptMs };
    return all(take(check.waiting), { kind: "adopt", check: kind, verdict: shared });
  }

  /** Called by a timer: nobody waits longer than it would for an answer of its own. */
  expire(): Decision[] {
    const now = this.#deps.monotonicMs();
    const decided: Decision[] = [];
    for (const [key, { kind, waiting, answer }] of this.#checks) {
      if (answer !== undefined && answer.keptUntilMs <= now) this.#checks.delete(key);
      const late = [...waiting].flatMap(([held, untilMs]) => (untilMs > now ? [] : [held]));
      for (const held of late) waiting.delete(held);
      decided.push(...all(late, { kind: "ask alone", task: kind }));
    }
    return decided;
  }

  /** A mail has left. Where it asked without an answer, another one is to ask. */
  onLeft(asker: HeldMail): Decision[] {
    const keys = this.#keys.get(asker) ?? [];
    this.#keys.delete(asker);
    return keys.flatMap((key) => {
      const check = this.#checks.get(key);
      if (check?.asker !== asker || check.answer !== undefined) return [];
      this.#checks.delete(key);
      return all(take(check.waiting), { kind: "ask", task: check.kind });
    });
  }

  #begin(key: string, asker: HeldMail, kind: CheckKind): void {
    const check: Check = { kind, asker, waiting: new Map(), answer: undefined };
    this.#checks.set(key, check);
    this.#keys.set(asker, [...(this.#keys.get(asker) ?? []), key]);
    if (this.#checks.size <= maxChecks) return;
    for (const [oldest, { answer }] of this.#checks) {
      if (answer === undefined) continue;
      this.#checks.delete(oldest);
      return;
    }
  }
}

/** What has to be the same; undefined if nothing is shared. */
function keyOf(held: HeldMail, kind: CheckKind): string | undefined {
  const { parentId, strikes = 0, body } = held.mail;
  const asked = taskIn(held.plan, kind);
  if (parentId === undefined || asked === undefined || strikes > 0) return undefined;
  return [parentId, laneFor(held, kind), asked.settingsHash, body.sha256].join(" ");
}

function all(mails: readonly HeldMail[], effect: Effect): Decision[] {
  return mails.map((held) => ({ held, effects: [effect] }));
}

function take(waiting: Map<HeldMail, number>): HeldMail[] {
  const siblings = [...waiting.keys()].filter(({ over }) => !over);
  waiting.clear();
  return siblings;
}
