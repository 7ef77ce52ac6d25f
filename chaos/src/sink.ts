import type { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { setTimeout as wait } from "node:timers/promises";
import { startSmtpSink, type Answer, type SinkSession } from "@rs-agent/kit/smtp/smtp-sink.ts";
import { randomOf } from "@rs-agent/kit/random.ts";
import { numberIn } from "./mails/planned-mail.ts";

/** A mail that the next hop has taken, or may be thought to have taken. */
export interface Copy {
  /**
   * The id in our newest Received field, for a report that in its Message-ID; "" if there is none.
   */
  mailId: string;
  isReport: boolean;
  /** The number of the mail, or of the mail that it reports on. */
  number: number | undefined;
  mailFrom: string;
  rcptTo: readonly string[];
  at: Date;
}

export interface SinkOptions {
  seed: number;
  /** How long a relay waits for the final reply: the sink may be slower. */
  finalTimeoutMs: number;
  /** Inspects what came, at the moment when it is taken. */
  inspect: (copy: Copy, raw: Buffer) => Promise<void>;
}

export interface Sink {
  readonly address: string;
  readonly copies: readonly Copy[];
  /** Transactions that ended without a final reply, whoever ended them. */
  readonly unfinished: number;
  /** Final replies given, by kind of trouble. */
  readonly troubles: ReadonlyMap<string, number>;
  readonly openSessions: number;
  stop(): Promise<void>;
}

/** What the next hop does to a mail, as next hops do. */
const troubles = [
  /** 4yz to a recipient, to the whole mail after its dot, or to the connection. */
  "defer-recipient",
  "defer-mail",
  "busy",
  /** It hangs up: after the dot, having kept the mail or not, or in the middle of the body. */
  "drop-kept",
  "drop-unkept",
  "drop-in-body",
  "slow",
  /** It keeps the mail, and says so after the relay has stopped listening. */
  "too-late",
] as const;
type Trouble = (typeof troubles)[number];
const troubleShare = 0.15;

/**
 * The next hop of a run. It counts copies, and fails by seed and mail, so that the same mail meets
 * the same trouble in each run of a seed. 5yz depends on the recipient's name.
 */
export async function startSink(options: SinkOptions): Promise<Sink> {
  const hop = new ErringHop(options);
  const sink = await startSmtpSink({
    onRecipient: (address, session) => hop.onRecipient(address, session),
    onMail: (mail, session) => hop.onMail(mail, session),
    onClose: (id, isUnfinished) => hop.onClose(id, isUnfinished),
  });
  return {
    address: `${sink.host}:${sink.port}`,
    copies: hop.copies,
    troubles: hop.troubles,
    get unfinished() {
      return hop.unfinished;
    },
    get openSessions() {
      return sink.openSessions;
    },
    stop: () => sink.stop(),
  };
}

class ErringHop {
  readonly copies: Copy[] = [];
  readonly troubles = new Map<string, number>();
  unfinished = 0;
  readonly #options: SinkOptions;
  /** How many transactions were begun for a mail so far. */
  readonly #tries = new Map<number, number>();
  /** By session: the trouble of the mail that it is about. */
  readonly #trouble = new Map<string, Trouble | undefined>();

  constructor(options: SinkOptions) {
    this.#options = options;
  }

  onRecipient(address: string, { id, rcptTo }: SinkSession): Answer {
    if (address.startsWith("refused.")) return "550 5.1.1 no such user";
    if (rcptTo.length > 0) return undefined;
    const trouble = this.#troubleOf(address);
    this.#trouble.set(id, trouble);
    if (trouble !== "defer-recipient" && trouble !== "busy") return undefined;
    this.#count(trouble);
    return trouble === "busy" ? "421 4.3.2 too busy, bye" : "450 4.2.1 mailbox busy";
  }

  async onMail(mail: Readable, session: SinkSession): Promise<Answer> {
    const trouble = this.#trouble.get(session.id);
    this.#trouble.delete(session.id);
    if (trouble === "drop-in-body") mail.once("data", () => session.hangUp());
    const raw = await buffer(mail);
    const rejected = session.rcptTo.some((address) => address.startsWith("rejected."));
    if (rejected) return "554 5.7.1 this mail is not wanted";
    if (trouble !== undefined) this.#count(trouble);
    if (trouble === "defer-mail") return "451 4.3.0 try again";
    if (trouble === "drop-unkept" || trouble === "drop-in-body") return "drop";
    await this.#keep(raw, session);
    if (trouble === "drop-kept") return "drop";
    if (trouble === "slow")
      await wait(randomOf(this.#options.seed, "slow", raw.length).between(100, 1_500));
    if (trouble === "too-late") await wait(this.#options.finalTimeoutMs + 1_000);
    return "250 2.0.0 kept";
  }

  onClose(id: string, isUnfinished: boolean): void {
    this.#trouble.delete(id);
    if (isUnfinished) this.unfinished += 1;
  }

  /**
   * By seed and mail: some mails meet trouble in their first transaction, some in the first two.
   */
  #troubleOf(address: string): Trouble | undefined {
    const number = numberIn(address);
    if (number === undefined) return undefined;
    const tries = (this.#tries.get(number) ?? 0) + 1;
    this.#tries.set(number, tries);
    const random = randomOf(this.#options.seed, "hop", number, tries);
    return tries <= 2 && random.chance(troubleShare) ? random.pick(troubles) : undefined;
  }

  async #keep(raw: Buffer, { mailFrom, rcptTo }: SinkSession): Promise<void> {
    const header = raw.toString("latin1", 0, Math.max(0, raw.indexOf("\r\n\r\n")));
    const ownId = /\(rs-agent\) with \S+ id ([0-9a-z]+)/.exec(header)?.[1];
    const reportId = /^Message-ID: <(d[0-9a-f]{24})@/m.exec(header)?.[1];
    const copy: Copy = {
      mailId: ownId ?? reportId ?? "",
      isReport: ownId === undefined && reportId !== undefined,
      number: numberIn(rcptTo[0] ?? ""),
      mailFrom,
      rcptTo,
      at: new Date(),
    };
    await this.#options.inspect(copy, raw);
    this.copies.push(copy);
  }

  #count(trouble: string): void {
    this.troubles.set(trouble, (this.troubles.get(trouble) ?? 0) + 1);
  }
}
