import { findingKinds, judge, type Finding, type FindingKind, type SeenMail } from "./judge.ts";

/** Whether every accepted recipient has met exactly one end, and the right one. */
export interface CheckResult {
  holds: boolean;
  /** How many accepted recipients. */
  recipients: number;
  /** Accepted recipients by where they ended, as the database has it. */
  ends: Record<string, number>;
  findings: Partial<Record<FindingKind, number>>;
  /** The first findings, for a person. */
  examples: Finding[];
  /**
   * Mails that are recorded although no 250 was heard: a sender that tries again makes a second
   * one.
   */
  unheard: number;
}

const mostExamples = 20;

/** Judges one mail after the other and keeps counts. */
export class ConservationCheck {
  readonly #findings = new Map<FindingKind, number>();
  readonly #examples: Finding[] = [];
  readonly #ends = new Map<string, number>();
  #recipients = 0;
  #unheard = 0;

  add(seen: SeenMail): void {
    const { mail, status, isRefused, records } = seen;
    if (status === "accepted") {
      this.#recipients += mail.rcptTo.filter((_, place) => !isRefused(place)).length;
      for (const { recipients } of records ?? [])
        for (const { outcome } of recipients)
          this.#ends.set(outcome, (this.#ends.get(outcome) ?? 0) + 1);
    } else if ((records ?? []).length > 0) this.#unheard += 1;
    for (const finding of judge(seen)) {
      this.#findings.set(finding.kind, (this.#findings.get(finding.kind) ?? 0) + 1);
      if (this.#examples.length < mostExamples) this.#examples.push(finding);
    }
  }

  read(): CheckResult {
    const findings = findingKinds.flatMap((kind) => {
      const count = this.#findings.get(kind);
      return count === undefined ? [] : [[kind, count] as const];
    });
    return {
      // A run in which nothing was accepted has shown nothing.
      holds: findings.length === 0 && this.#recipients > 0,
      recipients: this.#recipients,
      ends: Object.fromEntries(this.#ends),
      findings: Object.fromEntries(findings),
      examples: this.#examples,
      unheard: this.#unheard,
    };
  }
}
