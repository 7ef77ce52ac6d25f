import { Pull } from "zeromq";
import type { Clock } from "../clock.ts";
import { RetryableError, messageOf } from "../errors.ts";
import type { Logger } from "../logger.ts";
import { parseEndpoint } from "./endpoint.ts";
import { handshakeFailures, type HandshakeFailure } from "./handshake.ts";
import type { BusProtection } from "./protection.ts";
import { RefusalLog } from "./refusal-log.ts";

/** Messages that zeromq keeps for one peer before it stops reading from it. Credit keeps it lower. */
const receiveHighWaterMark = 1_000;

/**
 * What a mail may grow by beyond MAX_MAIL_BYTES, which is what its sender may hand in: our Received
 * field, new headers, a disclaimer.
 */
export const growthBytes = 2 * 1024 * 1024;

/**
 * An actor's one mailbox: a bound PULL. Read it with `for await (const frames of mailbox)`; the loop
 * ends at `close()`.
 */
export class Mailbox implements AsyncIterable<Buffer[]> {
  /** The bound address with its real port. */
  readonly endpoint: string;
  readonly #pull: Pull;
  readonly #refusals: RefusalLog;

  private constructor(pull: Pull, endpoint: string, refusals: RefusalLog) {
    this.#pull = pull;
    this.endpoint = endpoint;
    this.#refusals = refusals;
  }

  /** Peers refused since the start; each attempt counts. */
  get refused(): number {
    return this.#refusals.count;
  }

  /**
   * `maxFrameBytes`: a peer that sends a larger frame is cut off before the frame is read.
   * @throws TerminalError CFG_BUS_UNPROTECTED, BUS_ADDRESS; RetryableError BUS_BIND
   */
  static open(options: {
    bind: string;
    maxFrameBytes: number;
    protection: BusProtection;
    clock: Clock;
    log: Logger;
  }): Mailbox {
    const wanted = parseEndpoint(options.bind);
    const { protection, clock, log } = options;
    protection.check(options.bind, "bind");
    const pull = new Pull({
      ...protection.keys?.serverOptions,
      linger: 0,
      maxMessageSize: options.maxFrameBytes,
      receiveHighWaterMark,
      ipv6: wanted.transport === "tcp" && wanted.host.includes(":"),
    });
    const refusals = protection.keys?.refusals ?? new RefusalLog(clock, log);
    const hasKeys = protection.keys !== undefined;
    handshakeFailures(pull, (failure) => {
      // The ZAP handler has logged it, with the key.
      if (failure === "refused") return;
      const text = `peer refused: ${seenByMailbox(failure, hasKeys)}`;
      refusals.tell(text, { mailbox: options.bind }, text);
    });
    try {
      pull.bindSync(options.bind);
    } catch (error) {
      pull.close();
      const message = `${options.bind}: ${messageOf(error)}`;
      throw new RetryableError("BUS_BIND", message, { cause: error });
    }
    return new Mailbox(pull, pull.lastEndpoint ?? options.bind, refusals);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer[], void, undefined> {
    for await (const frames of this.#pull) yield frames;
  }

  /** Stops now; what was not yet read is lost, as every message in flight may be. */
  close(): void {
    this.#pull.close();
  }
}

/** What a mailbox knows of a peer that came no further than the handshake. */
function seenByMailbox(failure: HandshakeFailure, hasKeys: boolean): string {
  if (!hasKeys) return "it has keys, or speaks no ZMTP, and we have no keys (BUS_KEY_FILE)";
  if (failure === "other-key") return "it expects another key than ours here";
  return "it has no keys, or only looks whether the port is open";
}
