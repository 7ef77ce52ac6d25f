import { Pull } from "zeromq";
import { RetryableError, messageOf } from "../errors.ts";
import { parseEndpoint } from "./endpoint.ts";
import type { BusProtection } from "./protection.ts";

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

  private constructor(pull: Pull, endpoint: string) {
    this.#pull = pull;
    this.endpoint = endpoint;
  }

  /**
   * `maxFrameBytes`: a peer that sends a larger frame is cut off before the frame is read.
   * @throws TerminalError CFG_BUS_UNPROTECTED, BUS_ADDRESS; RetryableError BUS_BIND
   */
  static open(options: {
    bind: string;
    maxFrameBytes: number;
    protection: BusProtection;
  }): Mailbox {
    const wanted = parseEndpoint(options.bind);
    options.protection.check(options.bind, "bind");
    const pull = new Pull({
      linger: 0,
      maxMessageSize: options.maxFrameBytes,
      receiveHighWaterMark,
      ipv6: wanted.transport === "tcp" && wanted.host.includes(":"),
    });
    try {
      pull.bindSync(options.bind);
    } catch (error) {
      pull.close();
      const message = `${options.bind}: ${messageOf(error)}`;
      throw new RetryableError("BUS_BIND", message, { cause: error });
    }
    return new Mailbox(pull, pull.lastEndpoint ?? options.bind);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer[], void, undefined> {
    for await (const frames of this.#pull) yield frames;
  }

  /** Stops now; what was not yet read is lost, as every message in flight may be. */
  close(): void {
    this.#pull.close();
  }
}
