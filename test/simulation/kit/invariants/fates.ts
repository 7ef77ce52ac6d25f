import { isFromStrangers } from "@rs-agent/shared/mail/direction.ts";
import type { MailRecord, Recipient } from "@rs-agent/shared/mail/record.ts";
import type { UncheckedReason } from "@rs-agent/shared/checks/finding.ts";
import { lastOf } from "@rs-agent/shared/life/events.ts";
import { checksIn, hasFinding as isFound } from "@rs-agent/shared/checks/asked.ts";
import { answeredIn } from "@rs-agent/shared/checks/verdict.ts";
import type { World } from "../world.ts";
import type { Deliveries } from "./deliveries.ts";
import { mailIdOfRecord } from "../records.ts";
import { mailsIn, timesSentAgain } from "./records.ts";
import type { Works } from "./works.ts";

/** This many deaths or hangs make a mail a dead letter: two strikes, and then one alone. */
const deadlyLosses = 3;

/** Whether every recipient came to an end that the truth about its mail allows. */
export class Fates {
  readonly #world: World;
  readonly #deliveries: Deliveries;
  readonly #works: Works;

  constructor(world: World, deliveries: Deliveries, works: Works) {
    this.#world = world;
    this.#deliveries = deliveries;
    this.#works = works;
  }

  atEnd(): void {
    for (const mail of mailsIn(this.#world.set)) {
      const { _id: id, strikes = 0 } = mail;
      if (mail.state === "split") continue;
      const lost = this.#lostOn(mail);
      if (strikes > lost) this.#broken("poison", id, `${strikes} strikes, ${lost} works lost`);
      for (const recipient of mail.recipients) this.#check(mail, recipient);
    }
  }

  #lostOn(mail: MailRecord): number {
    return this.#works.lostOn(mail._id) + strikesBeforeBegun(mail);
  }

  #check(mail: MailRecord, { address, outcome, foundBy }: Recipient): void {
    const wrong = foundBy !== undefined ? undefined : this.#whyWrong(mail, address, outcome);
    if (wrong !== undefined) this.#broken("fate", mail._id, `${address} is ${outcome}: ${wrong}`);
    const taken = this.#deliveries.timesTaken(mail, address);
    const again = timesSentAgain(mail);
    if (taken > 1 + again) {
      this.#broken("I8", mail._id, `${address} got it ${taken} times, ${again} of them known`);
    }
  }

  #whyWrong(mail: MailRecord, address: string, outcome: string): string | undefined {
    const { plan, history } = mail;
    if (plan === undefined && outcome !== "dead") return "it never had a plan";
    const isCancelled = history.some(({ event }) => event === "cancelled");
    const alive = this.#whyNotAlive(mail, outcome);
    if (alive !== undefined) return alive;
    // I12: mail from strangers does not fail only because its time is over.
    const isOver = isExpired(mail) && !isFromStrangers(mail);
    const isRefused = this.#deliveries.isRefused(mail, address) || isOver;
    switch (outcome) {
      case "sent":
        return address.startsWith("refused@") ? "the hop refuses it" : undefined;
      case "quarantined":
        return hasFinding(mail) ? undefined : "nothing was found";
      case "discarded":
        return hasFinding(mail) || isCancelled ? undefined : "nothing was found";
      case "bounced":
        return hasFinding(mail) || isRefused ? undefined : "the hop takes it";
      case "dead":
        return this.#whyNotDead(mail, isRefused);
      default:
        return "it has no outcome";
    }
  }

  /** A mail that kills each dispatcher, or each relay, that takes it must not get past them. */
  #whyNotAlive(mail: MailRecord, outcome: string): string | undefined {
    const poison = this.#world.truthOf(mail.body.sha256)?.poison;
    if (poison?.kind === "relay") return outcome === "sent" ? "it kills relays" : undefined;
    if (poison?.kind !== "dispatcher" || outcome === "dead") return undefined;
    // Without a worker its bytes are not read, and in time the policy puts it away.
    if (poison.how === "read" && isUncheckedFor(mail, "engine-away")) return undefined;
    const isRead = checksIn(mail.plan).length > 0 || mail.plan?.enrich !== undefined;
    return poison.how === "written" || isRead ? "it kills dispatchers" : undefined;
  }

  #whyNotDead(mail: MailRecord, isRefused: boolean): string | undefined {
    if (this.#world.truthOf(mail.body.sha256)?.poison !== undefined) return undefined;
    const cause = lastOf(mail.history, "dead")?.cause;
    if (cause === "services-ended") return "it kills no service";
    if (cause === "workers-ended") {
      // The last of them may be an accident: in that case an innocent mail is the worker's only one
      // (docs/reliability.md).
      return this.#lostOn(mail) >= deadlyLosses ? undefined : "nothing died on it";
    }
    if (cause === "refused" && this.#isRefusedLetter(mail)) return undefined;
    const isUnreported = mail.smtp.mailFrom === "" || mail.origin.via === "dsn";
    const isInfected = mail.verdicts.virus?.finding.kind === "infected";
    const isOfOwn = answeredIn(mail.verdicts).some(
      (check) => mail.verdicts[check]?.finding.kind === "found",
    );
    if ((isRefused || isInfected || isOfOwn) && isUnreported) return undefined;
    if (isRefused && isFound(mail)) return undefined;
    return `there is no reason for it: ${mail.reason ?? ""}`;
  }

  /**
   * The letter for those of a record's recipients to whom it must not be sent, and for nobody else.
   */
  #isRefusedLetter({ _id, recipients }: MailRecord): boolean {
    const record = this.#world.records.find((truth) => `${mailIdOfRecord(truth)}-refused` === _id);
    return recipients.every(({ address }) => record?.refused.includes(address));
  }

  #broken(invariant: string, mailId: string, text: string): void {
    this.#world.violate({ invariant, mailId, text });
  }
}

function isUncheckedFor({ verdicts }: MailRecord, reason: UncheckedReason): boolean {
  const findings = answeredIn(verdicts).map((check) => verdicts[check]?.finding);
  return findings.some((one) => one?.kind === "unchecked" && one.reason === reason);
}

function hasFinding({ verdicts }: MailRecord): boolean {
  return answeredIn(verdicts).some((check) => {
    const { kind = "" } = verdicts[check]?.finding ?? {};
    return ["unchecked", "infected", "spam", "found"].includes(kind);
  });
}

function isExpired({ finalAt, receivedAt, plan }: MailRecord): boolean {
  if (finalAt === undefined || plan === undefined) return false;
  return finalAt.getTime() - receivedAt.getTime() >= plan.relay.maxQueueMs;
}

/** Strikes for workers that died as soon as the mail came in, before any work had begun. */
function strikesBeforeBegun({ history }: MailRecord): number {
  return history.filter((one) => one.event === "strike" && one.begun === false).length;
}
