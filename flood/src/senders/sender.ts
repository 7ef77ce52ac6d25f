import type { FloodMail } from "../mails/composer.ts";

/** What became of handing one mail in. It is tried once: a flood has no queue of its own. */
export type SendOutcome =
  /** `refused`: the places of recipients that were not taken, by their place in `rcptTo`. */
  | { kind: "accepted"; refused: readonly number[] }
  /** 4yz: come again. */
  | { kind: "put-off"; reply: string }
  /** 5yz. */
  | { kind: "refused"; reply: string }
  /** The connection was not to be had or broke before the mail was whole: nobody has it. */
  | { kind: "failed"; reply: string }
  /** The mail was whole and its reply did not come: it may be accepted or not. */
  | { kind: "unknown"; reply: string };

/** One connection, or what stands for one: it hands in one mail at a time. */
export interface Lane {
  /** Never rejects. */
  send(mail: FloodMail, raw: Buffer): Promise<SendOutcome>;
  close(): void;
}

export interface Sender {
  /** For a person: where the mail goes. */
  readonly target: string;
  /** Opens nothing yet. */
  openLane(): Lane;
  close(): Promise<void>;
}
