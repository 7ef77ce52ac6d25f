import type { FloodMail } from "../mails/composer.ts";

/** The result of handing one mail in. It is tried once: a flood has no queue of its own. */
export type SendOutcome =
  /** `refused`: the recipients that were not taken, by their place in `rcptTo`. */
  | { kind: "accepted"; refused: readonly number[] }
  /** 4yz: try again later. */
  | { kind: "put-off"; reply: string }
  /** 5yz. */
  | { kind: "refused"; reply: string }
  /** There was no connection, or it broke before the mail was whole: nobody has the mail. */
  | { kind: "failed"; reply: string }
  /** The mail was whole, but no reply came: it may or may not be accepted. */
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
  /** Does not open anything yet. */
  openLane(): Lane;
  close(): Promise<void>;
}
