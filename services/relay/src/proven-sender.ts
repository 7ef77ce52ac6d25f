import { TerminalError } from "@rs-agent/shared/errors.ts";
import {
  proveSender,
  type SenderProof,
} from "@rs-agent/shared/mail/authentication/sender-proof.ts";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import type { Delivery, DeliveryDeps } from "./attempt.ts";
import { untilAnswered } from "./settled-write.ts";

/**
 * Whether the sender of a mail that failed may be told (I12), found out at this moment. Undefined: the
 * lease is over, or we stop, and the relay that claims the mail next finds it out.
 */
export async function provenSender(
  deps: DeliveryDeps,
  { mail, lease }: Delivery,
): Promise<SenderProof | undefined> {
  const given: (() => void)[] = [];
  const unread: MailRecord[] = [];
  // A flood of refused mail must not fill the memory a second time, nor keep the CPU from mail on its way.
  const readRaw = async () => {
    const giveReading = await deps.readings.take(1, lease.signal);
    if (giveReading !== undefined) given.push(giveReading);
    const read = () => rawOf(deps, mail);
    const raw = giveReading && (await untilAnswered(read, deps.log, deps.closing));
    if (raw === undefined) unread.push(mail);
    return raw ?? Buffer.alloc(0);
  };
  const { promise: closed, resolve: stop } = Promise.withResolvers<undefined>();
  const onClosing = () => stop(undefined);
  deps.closing.addEventListener("abort", onClosing, { once: true });
  if (deps.closing.aborted) onClosing();
  try {
    const proof = await Promise.race([proveSender(mail, readRaw, deps.senders), closed]);
    return unread.length === 0 && lease.isValid() ? proof : undefined;
  } finally {
    deps.closing.removeEventListener("abort", onClosing);
    for (const give of given) give();
  }
}

/** The mail as it came in; nothing, if that is gone for good. */
async function rawOf({ database }: DeliveryDeps, mail: MailRecord): Promise<Buffer> {
  try {
    return await database.bodies.get(mail.body);
  } catch (error) {
    if (error instanceof TerminalError) return Buffer.alloc(0);
    throw error;
  }
}
