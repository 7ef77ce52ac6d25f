import { newToken } from "../ids.ts";
import type { MailChange } from "../life/change.ts";

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

/**
 * The right to write one mail, by the claim that gave it (I3). Each change has a revision of its own, however often
 * its write is asked for: a try that the server does late finds the record further on, and does nothing.
 */
export class Holding {
  readonly mailId: string;
  readonly token: string;
  #rev: number;
  #asked: MailChange | undefined;

  /** `rev`: the record's, as the claim found it; absent is 0. */
  constructor(mailId: string, token: string, rev = 0) {
    this.mailId = mailId;
    this.token = token;
    this.#rev = rev;
  }

  /** What the write of this change leaves; the same again while no other change was asked for. */
  markOf(change: MailChange): Required<WriteMark> {
    if (change !== this.#asked) this.#rev += 1;
    this.#asked = change;
    return { wrote: this.token.slice(0, prefixChars), rev: this.#rev };
  }
}
