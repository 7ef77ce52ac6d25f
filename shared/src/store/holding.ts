import { newToken } from "../ids.ts";
import type { MailChange } from "../life/change.ts";
import type { MailRecord } from "../mail/record.ts";
import type { RecordForm } from "./record-form.ts";

/** How much of a token tells one writer's claim from another's. */
const prefixChars = 8;

/** What a write leaves in the record: who wrote last, and the record's revision. */
export interface WriteMark {
  /** Of the writer's token. */
  readonly wrote: string;
  /** Without it one more than there is: a person's write, which no lease guards. */
  readonly rev?: number;
}

/** The mark of one write that no lease guards: of a person's, say. */
export function freshMark(): WriteMark {
  return { wrote: newToken().slice(0, prefixChars) };
}

type HeldRecord = Pick<MailRecord, "_id" | "v" | "state" | "rev" | "body" | "plan">;

/**
 * The right to write one mail, by the claim that gave it (I3). Each change has a revision of its own, however often
 * its write is asked for: a try that the server does late finds the record further on, and does nothing.
 */
export class Holding {
  readonly mailId: string;
  readonly token: string;
  /** It had a plan that somebody could not read. */
  readonly isPlanLost: boolean;
  readonly #v: number;
  #sha256: string;
  #rev: number;
  #asked: MailChange | undefined;

  /** Of the record as the claim found it. */
  constructor({ _id, v, state, rev = 0, body, plan }: HeldRecord, token: string) {
    this.mailId = _id;
    this.isPlanLost = plan === undefined && state !== "incoming";
    this.token = token;
    this.#v = v;
    this.#sha256 = body.sha256;
    this.#rev = rev;
  }

  /** In which form its changes are written. */
  get form(): RecordForm {
    return { v: this.#v, sha256: this.#sha256 };
  }

  /** What the write of this change leaves; the same again while no other change was asked for. */
  markOf(change: MailChange): Required<WriteMark> {
    if (change !== this.#asked) this.#rev += 1;
    this.#asked = change;
    this.#sha256 = change.set?.body?.sha256 ?? this.#sha256;
    return { wrote: this.token.slice(0, prefixChars), rev: this.#rev };
  }
}
