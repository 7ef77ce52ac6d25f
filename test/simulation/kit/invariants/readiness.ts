import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import type { CheckKind, Finding } from "@rs-agent/shared/checks/verdict.ts";
import type { UncheckedFinding } from "@rs-agent/shared/checks/finding.ts";
import { askedIn, checksIn } from "@rs-agent/shared/checks/asked.ts";
import type { UncheckedRule } from "@rs-agent/shared/checks/consequence.ts";
import { ownCheck } from "../mails.ts";
import { isSealed } from "../engines.ts";
import type { World } from "../world.ts";
import { clockErrorMs, isOverridden, scoreOf } from "./records.ts";

/** I2, I5 and I10: nothing is ready without what its policy demands, measured by the truth. */
export class Readiness {
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  onWrite(before: MailRecord, mail: MailRecord): void {
    const wasOut = before.state === "ready" || before.state === "relaying";
    if (mail.state === "ready" && !wasOut) this.#check(mail, before);
  }

  #check(mail: MailRecord, before: MailRecord): void {
    const { plan, enriched } = mail;
    if (plan === undefined) return this.#broken("I2", mail._id, "ready without a plan");
    for (const check of checksIn(plan)) {
      const why = this.#whyUnready(mail, before, check);
      if (why !== undefined) this.#broken("I2", mail._id, `ready, but ${check}: ${why}`);
    }
    const demanded = plan.demandedSignature;
    if (demanded !== undefined && !isSealed(this.#bytesOf(mail), demanded)) {
      this.#broken("I10", mail._id, "ready without the signature that its policy demands");
    }
    if (enriched !== undefined && plan.enrich !== undefined) this.#checkHeaders(mail);
  }

  #whyUnready(mail: MailRecord, before: MailRecord, check: CheckKind): string | undefined {
    const asked = askedIn(mail.plan, check);
    if (asked === undefined) return undefined;
    const verdict = mail.verdicts[check];
    if (verdict === undefined) return "it was never answered";
    if (verdict.sha256 !== mail.body.sha256) return "the verdict is on other bytes";
    if (verdict.settingsHash !== asked.settingsHash) return "the verdict is for other settings";
    const { finding, at } = verdict;
    const untrue = this.#whyUntrue(mail, finding);
    if (untrue !== undefined || isOverridden(mail, check, finding)) return untrue;
    if (finding.kind === "infected") return "it is infected";
    if (finding.kind === "found") return this.#whyFound(mail);
    if (finding.kind !== "unchecked") return this.#whySpam(mail, finding);
    const since = before.uncheckedSince?.check === check ? before.uncheckedSince.at : at;
    return this.#whyUnchecked(asked.unchecked[finding.reason], finding, since);
  }

  #whyUntrue(mail: MailRecord, finding: Finding): string | undefined {
    const truth = this.#world.truthOf(mail.body.sha256);
    if (truth?.virus === "infected" && finding.kind === "clean") {
      return "an infected mail is taken for clean";
    }
    if (truth?.isSecret === true && finding.kind === "passed") {
      return "a mail with a secret has passed";
    }
    const score = scoreOf(finding);
    if (score === undefined || score === truth?.score) return undefined;
    return `its score is ${truth?.score ?? 0}, not ${score}`;
  }

  #whyUnchecked(
    rule: UncheckedRule,
    { reason }: UncheckedFinding,
    since: Date,
  ): string | undefined {
    const passes = rule.action === "pass" || (rule.action === "wait" && rule.then === "pass");
    if (!passes) return `unchecked: ${reason} must not pass`;
    const waitedMs = this.#world.set.now().getTime() - since.getTime();
    const isTooEarly = rule.action === "wait" && waitedMs < (rule.waitMs ?? 0) - clockErrorMs;
    return isTooEarly ? `unchecked: it passed after ${waitedMs} ms` : undefined;
  }

  #whySpam({ plan }: MailRecord, finding: Finding): string | undefined {
    const score = scoreOf(finding);
    if (score === undefined || plan?.spam === undefined) return undefined;
    const { threshold, onSpam, highThreshold = Infinity, onHighSpam = onSpam } = plan.spam;
    if (score < threshold) return undefined;
    const disposition = score >= highThreshold ? onHighSpam : onSpam;
    return disposition === "tag" || disposition === "deliver" ? undefined : "it is spam";
  }

  #whyFound({ plan }: MailRecord): string | undefined {
    const disposition = plan?.checks?.[ownCheck]?.finding;
    return disposition === "tag" || disposition === "deliver" ? undefined : "it holds a secret";
  }

  /** What the headers say must be what was found. */
  #checkHeaders(mail: MailRecord): void {
    const head = this.#bytesOf(mail).toString("latin1");
    const said = /\r\nX-Checked: ([^\r]*)/.exec(head)?.[1] ?? "";
    for (const check of checksIn(mail.plan)) {
      const found = `${check}=${mail.verdicts[check]?.finding.kind ?? "none"}`;
      if (!said.split(" ").includes(found)) {
        this.#broken("I5", mail._id, `its headers say ${said}, found was ${found}`);
      }
    }
  }

  #bytesOf(mail: MailRecord): Buffer {
    const raw = this.#world.rawOf(mail.body.id);
    const { enriched } = mail;
    if (enriched?.headerBlock === undefined) return raw;
    return Buffer.concat([enriched.headerBlock, raw.subarray(enriched.restOffset)]);
  }

  #broken(invariant: string, mailId: string, text: string): void {
    this.#world.violate({ invariant, mailId, text });
  }
}
