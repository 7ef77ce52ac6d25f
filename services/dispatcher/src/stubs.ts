import { Budget } from "@rs-agent/shared/budget.ts";
import { unreadYet } from "@rs-agent/shared/life/adoption.ts";
import type { DeathCause } from "@rs-agent/shared/life/events.ts";
import type { Clock } from "@rs-agent/shared/clock.ts";
import type { Logger } from "@rs-agent/shared/logger.ts";
import type { AdoptionRules } from "@rs-agent/shared/store/adoption.ts";
import type { SourceStore } from "@rs-agent/shared/store/sources.ts";
import type { HeldMail } from "./held-mail.ts";
import type { HeldMails } from "./held-mails.ts";
import type { Sources } from "./sources.ts";

export interface StubDeps {
  sources: Pick<Sources, "open">;
  store: Pick<SourceStore, "read" | "mark" | "unread">;
  held: Pick<HeldMails, "untilAnswered" | "write" | "finish">;
  rules: AdoptionRules;
  /** The database's clock. */
  clock: Pick<Clock, "now">;
  log: Logger;
}

/** Records are read so many at once; each has its raw mail in memory. */
const atOnce = 4;
/** Milliseconds after which a stub of a source that is closed is looked at again. */
const closedMs = 10_000;

/** The first step of a mail out of a source: its record is read, under the lease of its stub. */
export interface Stubs {
  /** The held mail is one by then, durably, or has left our hands. */
  read(held: HeldMail): Promise<void>;
  /** Ends a stub whose record must not be read. */
  bury(held: HeldMail, cause: DeathCause, why: string): Promise<void>;
}

export function createStubs({ sources, store, held, rules, clock, log }: StubDeps): Stubs {
  const turns = new Budget(atOnce);
  return {
    async read(stub) {
      const { mail } = stub;
      const { name } = mail.origin;
      const source = sources.open(name);
      if ("closed" in source) {
        const retryAt = new Date(clock.now().getTime() + closedMs);
        stub.note(unreadYet(mail, { reason: source.closed, retryAt }));
        await held.finish(stub);
        return;
      }
      const giveTurn = await turns.take(1);
      const read = held.untilAnswered(stub, () => store.read(source, mail, rules));
      const { kind, change } = await read.finally(giveTurn);
      if (stub.over) return;
      stub.note(change);
      const isAdopted = kind === "adopted";
      const isWritten = await (isAdopted ? held.write(stub) : held.finish(stub));
      if (!isWritten || kind === "pending" || kind === "gone") return;
      // With the mark its owner may remove the record: the mail is durable before.
      await store.mark(source, stub.mail).catch((error: unknown) => {
        log.warn({ err: error, mailId: mail._id, source: name }, "a record is not marked yet");
      });
      if (isAdopted) log.info({ mailId: mail._id, source: name }, "mail adopted");
    },
    async bury(stub, cause, why) {
      const change = await held.untilAnswered(stub, () => store.unread(stub.mail, why, cause));
      if (stub.over) return;
      stub.note(change);
      await held.finish(stub);
    },
  };
}
