import type { MailRecord, Recipient } from "@rs-agent/shared/mail/record.ts";
import { isFromStrangers } from "@rs-agent/shared/mail/direction.ts";
import { isStub } from "@rs-agent/shared/mail/stub.ts";
import type { Entry } from "../database/replica-set.ts";
import { isHonest } from "../senders.ts";
import type { World } from "../world.ts";
import type { Deliveries } from "./deliveries.ts";
import { isFinal } from "@rs-agent/shared/life/states.ts";
import { mailsIn } from "./records.ts";

/** I1: everything that was accepted is in exactly one place at any time, recipient by recipient. */
export class Conservation {
  readonly #world: World;
  readonly #deliveries: Deliveries;
  readonly #acknowledged = new Set<string>();

  constructor(world: World, deliveries: Deliveries) {
    this.#world = world;
    this.#deliveries = deliveries;
  }

  /** Ingest has answered 250. Nobody else stores mail under its ids. */
  onAcknowledged(mailId: string, found: "inserted" | "present"): void {
    this.#acknowledged.add(mailId);
    if (found === "present") this.#broken(mailId, "its own record is taken for another's");
    if (!this.#world.set.majority("mails").has(mailId)) {
      this.#broken(mailId, "acknowledged, and the majority does not have it");
    }
  }

  /** A recipient with an outcome keeps it, and the state agrees with the outcomes. */
  onWrite({ id, by }: Entry, before: MailRecord, after: MailRecord): void {
    if (isStub(after)) {
      if (isFinal(before.state) && before.reason !== "record gone")
        this.#broken(id, `it was ${before.state} and is a stub again`);
      return;
    }
    if (isStub(before)) return this.#onRead(after);
    const isPerson = by?.sort === "person";
    if (after.recipients.length !== before.recipients.length) {
      return this.#broken(id, "its recipients are not the same any more");
    }
    if (isFinal(before.state) && !isPerson) {
      return this.#broken(id, `it was ${before.state} and is written again`);
    }
    after.recipients.forEach((recipient, index) => {
      const was = before.recipients[index] as Recipient;
      if (was.address !== recipient.address) this.#broken(id, "it has another recipient");
      if (was.outcome === recipient.outcome) return;
      // A person may reopen what is kept back, dead or not reported, but never what was sent or
      // reported.
      const isReopened = isPerson && recipient.outcome === "open";
      const isReported = was.outcome === "bounced" && was.report !== "none";
      if (!isReopened || was.outcome === "sent" || isReported) {
        this.#onOutcome(after, was, recipient);
      }
    });
    if (after.state === "split") return;
    const isOpen = after.recipients.some(({ outcome }) => outcome === "open");
    if (isOpen === isFinal(after.state)) {
      this.#broken(id, `it is ${after.state}, and its recipients are not`);
    }
  }

  /** A stub has become a mail with open recipients, or has ended with all of them. */
  #onRead({ _id: id, state, recipients }: MailRecord): void {
    const isOver = isFinal(state);
    const isEach = (is: boolean) => recipients.every(({ outcome }) => (outcome === "open") === is);
    if (!isEach(!isOver) || (!isOver && recipients.length === 0))
      this.#broken(id, `it was a stub and is ${state}, and its recipients are not`);
  }

  #onOutcome(mail: MailRecord, was: Recipient, { address, outcome }: Recipient): void {
    if (was.outcome !== "open") {
      this.#broken(mail._id, `${address} was ${was.outcome}, now ${outcome}`);
    }
    if (outcome === "sent" && this.#deliveries.timesTaken(mail, address) === 0) {
      this.#broken(mail._id, `${address} is sent, but no hop has taken it`);
    }
  }

  /** What the majority has: a split with all its parts, a bounce with its report. */
  onCommitted({ before, after }: Entry): void {
    const mail = after as MailRecord | undefined;
    if (mail === undefined) return;
    if (mail.state === "split") this.#checkSplit(mail);
    if (before === undefined) return;
    const was = before as unknown as MailRecord;
    mail.recipients.forEach(({ address, outcome, report }, index) => {
      if (outcome !== "bounced" || was.recipients[index]?.outcome === "bounced") return;
      this.#checkReport(mail, address, report);
    });
  }

  /** I12: the sender of a bounce is told, unless it is forged. */
  #checkReport(mail: MailRecord, address: string, report: "none" | undefined): void {
    const { _id: id } = mail;
    const isDue = !isFromStrangers(mail) || isHonest(mail);
    const isReported = this.#isReported(id, address);
    if (report !== "none" && !isReported) this.#broken(id, `${address} bounced, unreported`);
    const isExcused = !isDue || this.#world.dnsWasSilent;
    if (report === "none" && !isExcused) {
      this.#broken(id, `nobody was told of ${address}, though its sender is known`, "I12");
    }
    if (isReported && !isDue) {
      this.#broken(id, `a forged sender was told of ${address}`, "I12");
    }
  }

  #checkSplit(parent: MailRecord): void {
    const children = mailsIn(this.#world.set).filter(({ parentId }) => parentId === parent._id);
    const carried = children.flatMap((child) => child.recipients.map(({ address }) => address));
    const own = parent.recipients.map(({ address }) => address);
    if (carried.length !== own.length || own.some((address) => !carried.includes(address))) {
      this.#broken(parent._id, `split into ${carried.join(" ")} of ${own.join(" ")}`);
    }
  }

  #isReported(mailId: string, address: string): boolean {
    return mailsIn(this.#world.set).some(
      ({ origin, body }) =>
        origin.via === "dsn" &&
        origin.name === mailId &&
        this.#world.rawOf(body.id).includes(address),
    );
  }

  /** Bodies are removed with the last record that points to them, or long after it. */
  onBodyRemoved(bodyId: string): void {
    const { set } = this.#world;
    const mails = [...mailsIn(set, "local"), ...mailsIn(set)];
    const owner = mails.find(
      ({ body, enriched }) => body.id === bodyId || enriched?.body?.id === bodyId,
    );
    if (owner !== undefined) this.#broken(owner._id, "the body to which it points is removed");
  }

  atEnd(): void {
    const { set } = this.#world;
    for (const mailId of this.#acknowledged) {
      if (!set.majority("mails").has(mailId)) this.#broken(mailId, "it is lost");
    }
    for (const mail of mailsIn(set)) {
      if (mail.lease !== undefined) this.#broken(mail._id, "it is final and has a lease");
    }
  }

  #broken(mailId: string, text: string, invariant = "I1"): void {
    this.#world.violate({ invariant, mailId, text });
  }
}
