import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import { longestTimeoutMs } from "../actors.ts";
import { isSealed } from "../engines.ts";
import type { Received, Sending } from "../smtp/next-hop.ts";
import type { VirtualProcess } from "../virtual-time.ts";
import type { World } from "../world.ts";
import type { Belief, Leases } from "./leases.ts";
import { clockErrorMs, mailsIn, messageOf, timesSentAgain } from "./records.ts";

/** A body that is, or was, on its way to a hop for one recipient. */
interface OnItsWay {
  relay: VirtualProcess;
  /** The belief on which it is sent; renewals prolong it. */
  belief: Belief | undefined;
  beganMs: number;
  /** When the relay heard the outcome, closed the connection, or died. */
  leftMs: number | undefined;
  /** The hop can no longer take it. */
  isOver: boolean;
}

/** I8 and I10 as the hops see them. */
export class Deliveries {
  readonly #world: World;
  readonly #leases: Leases;
  /** By `message recipient`, like the next two. */
  readonly #sendings = new Map<string, OnItsWay[]>();
  /** The times at which a hop took a message for a recipient. */
  readonly #taken = new Map<string, number[]>();
  /** What a hop has refused for good. */
  readonly #refused = new Set<string>();

  constructor(world: World, leases: Leases) {
    this.#world = world;
    this.#leases = leases;
  }

  /** How often a hop has taken this mail for that recipient. */
  timesTaken(mail: MailRecord, address: string): number {
    return this.#taken.get(`${messageOf(mail)} ${address}`)?.length ?? 0;
  }

  isRefused(mail: MailRecord, address: string): boolean {
    return address.startsWith("refused@") || this.#refused.has(`${messageOf(mail)} ${address}`);
  }

  onBodyBegins({ relay, messageId, recipients }: Sending): void {
    for (const address of recipients) {
      const key = `${messageId} ${address}`;
      const mail = this.#carrierOf(messageId, address);
      if (mail === undefined) {
        this.#broken("I1", messageId, `${address} is sent a mail that nobody has`);
        continue;
      }
      this.#checkMark(relay, mail, address);
      this.#checkAgain(mail, key, address);
      const sendings = this.#sendings.get(key) ?? [];
      const belief = this.#leases.live(mail._id).find(({ holder }) => holder === relay);
      const beganMs = this.#world.time.nowMs;
      sendings.push({ relay, belief, beganMs, leftMs: undefined, isOver: false });
      this.#sendings.set(key, sendings);
    }
  }

  /** I8: the majority has the mark, and the lease is the sender's own. */
  #checkMark(relay: VirtualProcess, mail: MailRecord, address: string): void {
    const { _id: id, unknown, state } = mail;
    if (state !== "relaying" || unknown?.relay !== relay.name) {
      return this.#broken("I8", id, `${relay.name} sends the body without its mark`);
    }
    if (!unknown.recipients.includes(address)) {
      this.#broken("I8", id, `${address} is not in the mark`);
    }
    const isHolder = this.#leases.live(id).some(({ holder }) => holder === relay);
    if (!isHolder) this.#broken("I8", id, `${relay.name} sends without a lease`);
  }

  /** I8: sent again only after an unknown outcome, and late enough. */
  #checkAgain(mail: MailRecord, key: string, address: string): void {
    const { nowMs } = this.#world.time;
    for (const { relay, isOver } of this.#sendings.get(key) ?? []) {
      if (!isOver) {
        this.#broken("I8", mail._id, `${address} is being sent by ${relay.name} at the same time`);
      }
    }
    const takenMs = this.#taken.get(key)?.at(-1);
    if (takenMs === undefined) return;
    if (timesSentAgain(mail) < (this.#taken.get(key)?.length ?? 0)) {
      this.#broken("I8", mail._id, `${address} has it already, and is not known as unknown`);
    }
    // A later one may have had its answer, no for this recipient (LMTP), and that is no reason to
    // wait.
    const last = this.#sendings.get(key)?.findLast(({ beganMs }) => beganMs <= takenMs);
    const leftMs = Math.min(last?.leftMs ?? takenMs, last?.belief?.untilMs ?? Infinity);
    if (nowMs < leftMs + longestTimeoutMs - clockErrorMs) {
      this.#broken("I8", mail._id, `${address} gets it again after ${nowMs - leftMs} ms`);
    }
  }

  /** The relay is done with these, one way or the other; or (with `isOver`) the hop is. */
  onLeft({ relay, messageId, recipients }: Sending, isOver: boolean): void {
    for (const address of recipients) {
      for (const sending of this.#sendings.get(`${messageId} ${address}`) ?? []) {
        if (sending.relay !== relay) continue;
        sending.leftMs ??= this.#world.time.nowMs;
        sending.isOver ||= isOver;
      }
    }
  }

  onRefused(messageId: string, address: string): void {
    this.#refused.add(`${messageId} ${address}`);
  }

  onTaken({ messageId, recipients, sha256, bytes }: Received): void {
    for (const address of recipients) {
      const key = `${messageId} ${address}`;
      const mail = this.#carrierOf(messageId, address);
      if (mail === undefined) continue;
      this.#taken.set(key, [...(this.#taken.get(key) ?? []), this.#world.time.nowMs]);
      if (sha256 !== (mail.enriched?.sha256 ?? mail.body.sha256)) {
        this.#broken("I10", mail._id, "other bytes were sent than were made");
      }
      const demanded = mail.plan?.demandedSignature;
      if (demanded !== undefined && !isSealed(bytes, demanded)) {
        this.#broken("I10", mail._id, "sent without the signature that its policy demands");
      }
    }
  }

  /** The record that carries this recipient of a message: the mail, or one of its children. */
  #carrierOf(messageId: string, address: string): MailRecord | undefined {
    return mailsIn(this.#world.set).find(
      (mail) =>
        mail.groups === undefined &&
        messageOf(mail) === messageId &&
        mail.recipients.some((recipient) => recipient.address === address),
    );
  }

  #broken(invariant: string, mailId: string, text: string): void {
    this.#world.violate({ invariant, mailId, text });
  }
}
