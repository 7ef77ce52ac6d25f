import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import { isStub } from "@rs-agent/shared/mail/stub.ts";
import type { Entry } from "../database/replica-set.ts";
import { inbox, mailIdOfRecord, type RecordTruth } from "../records.ts";
import type { World } from "../world.ts";
import { isFinal } from "@rs-agent/shared/life/states.ts";

/**
 * I1 for records of a source: each existing record becomes exactly one mail, recipient by
 * recipient.
 */
export class Adoption {
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  /**
   * A record says that it is adopted only when the majority has its mail, because its writer may
   * then remove it.
   */
  onRecordWrite({ id, before, after }: Entry): void {
    if (before === undefined || after === undefined || after["state"] !== "adopted") return;
    const mail = this.#mailOf({ id });
    if (mail === undefined || isStub(mail))
      this.#broken(id, "it is marked, and nobody has read it");
  }

  /** Whether every existing record has met its end. */
  get isSettled(): boolean {
    return this.#present.every((truth) => {
      const mail = this.#mailOf(truth);
      return mail !== undefined && isFinal(mail.state);
    });
  }

  atEnd(): void {
    for (const truth of this.#present) {
      const mail = this.#mailOf(truth);
      if (mail === undefined)
        this.#broken(truth.id, "it is in its source, and there is no mail of it");
      else this.#check(truth, mail);
    }
  }

  get #present(): RecordTruth[] {
    const there = this.#world.set.majority(inbox);
    return this.#world.records.filter(({ id }) => there.has(id));
  }

  #check(truth: RecordTruth, mail: MailRecord): void {
    const { id, recipients, refused, poison } = truth;
    if (mail.reason === "record gone") return this.#broken(id, "it is taken for gone");
    const isPoison = poison?.kind === "dispatcher" && poison.how === "read";
    if (mail.recipients.length === 0 && isPoison) return;
    this.#same(id, "its mail", mail, recipients);
    const letter = this.#world.set.majority("mails").get(`${mail._id}-refused`);
    if (letter !== undefined || refused.length > 0)
      this.#same(id, "its letter", letter as MailRecord | undefined, refused);
  }

  #same(id: string, what: string, mail: MailRecord | undefined, wanted: readonly string[]): void {
    const has = mail?.recipients.map(({ address }) => address) ?? [];
    if (has.join(" ") === wanted.join(" ")) return;
    this.#broken(id, `${what} is for ${has.join(" ")}, not for ${wanted.join(" ")}`);
  }

  #mailOf(truth: Pick<RecordTruth, "id">): MailRecord | undefined {
    const mail = this.#world.set.majority("mails").get(mailIdOfRecord(truth));
    return mail as unknown as MailRecord | undefined;
  }

  #broken(id: string, what: string): void {
    const text = `record ${id}: ${what}`;
    this.#world.violate({ invariant: "I1", mailId: mailIdOfRecord({ id }), text });
  }
}
