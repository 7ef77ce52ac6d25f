import type { SMTPServerDataStream } from "smtp-server";
import { messageOf } from "@rs-agent/shared/errors.ts";
import { accept, type AcceptanceDeps } from "./acceptance.ts";
import type { MemoryBudget } from "./memory-budget.ts";
import { RawMail } from "./raw-mail.ts";
import type { Refusal } from "./reply.ts";
import { refuse } from "./reply.ts";
import type { ReceiveData } from "./session-handlers.ts";

export interface ReceiveDeps extends AcceptanceDeps {
  budget: MemoryBudget;
  /** From DATA to the final dot. */
  dataTimeoutMs: number;
}

/** How a mail's bytes ended: with the dot, without it, or not in time. */
type Ending = "complete" | "cut-short" | "too-slow";

/** The mails that are on their way to the database right now. */
export interface Receiving {
  receiveData: ReceiveData;
  /** Settles when the database has taken or refused everything that was handed to it. */
  settled(): Promise<void>;
}

export function createReceiving(deps: ReceiveDeps): Receiving {
  const storing = new Set<Promise<void>>();
  const receive: ReceiveData = async (stream, transaction) => {
    const raw = new RawMail(deps.maxMailBytes, deps.budget);
    const ending = await readTo(raw, stream, deps.dataTimeoutMs);
    const refusal = refusalOf(ending, raw, deps);
    if (refusal !== undefined) {
      raw.release();
      return refusal;
    }
    const { result, settled } = accept(transaction, raw, deps);
    // A mail that the database holds on to occupies memory, whatever the client was told.
    const done = settled.then(() => {
      raw.release();
      storing.delete(done);
    });
    storing.add(done);
    return result;
  };
  return {
    receiveData: async (stream, transaction) => {
      try {
        return await receive(stream, transaction);
      } catch (error) {
        // A bug, but not one to end the process for: the mail comes again, and would end it again.
        deps.log.error({ err: error, reason: messageOf(error) }, "a mail could not be taken");
        return refuse.storeAway();
      }
    },
    settled: async () => {
      await Promise.all(storing);
    },
  };
}

function refusalOf(ending: Ending, raw: RawMail, deps: ReceiveDeps): Refusal | undefined {
  if (ending === "too-slow") return refuse.tooSlow();
  // The client is gone and hears nothing; a mail without its end is never a mail.
  if (ending === "cut-short") return refuse.cutShort();
  if (raw.overflow === "too-large") return refuse.tooLarge(deps.maxMailBytes);
  if (raw.overflow === "too-much-in-flight") return refuse.tooMuchInFlight();
  return undefined;
}

/** Reads to the end even if nothing is kept, so that the client hears its reply. */
async function readTo(
  raw: RawMail,
  stream: SMTPServerDataStream,
  timeoutMs: number,
): Promise<Ending> {
  const { promise, resolve } = Promise.withResolvers<Ending>();
  const timer = setTimeout(() => {
    resolve("too-slow");
    stream.destroy();
  }, timeoutMs);
  stream.on("data", (chunk: Buffer) => raw.push(chunk));
  stream.once("end", () => resolve("complete"));
  // smtp-server destroys the stream with an error if the client goes away; "close" alone tells too.
  stream.once("error", () => resolve("cut-short"));
  stream.once("close", () => resolve("cut-short"));
  const ending = await promise;
  clearTimeout(timer);
  return ending;
}
