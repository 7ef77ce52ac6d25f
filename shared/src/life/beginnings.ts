import { childMailId } from "../ids.ts";
import { recordVersion, type MailRecord } from "../mail/record.ts";
import { entry, type HistoryEntry, type Moment } from "./events.ts";

/** How a record begins: each as `incoming` mail for the dispatcher that plans it. */

export type Given = Pick<MailRecord, "_id" | "origin" | "smtp" | "receivedAt" | "body"> &
  Partial<
    Pick<MailRecord, "recipients" | "header" | "direction" | "parentId" | "unknown" | "dueAt">
  >;

export function begun(given: Given, event: HistoryEntry): MailRecord {
  const recipients = given.smtp.rcptTo.map(
    (address) => ({ address, outcome: "open", attempts: 0 }) as const,
  );
  return {
    v: recordVersion,
    state: "incoming",
    next: "plan",
    dueAt: given.receivedAt,
    recipients,
    verdicts: {},
    ...given,
    history: [event],
  };
}

/** Taken in by a listener: with it durable, the client gets its 250. */
export function accepted(given: Given, by: string): MailRecord {
  return begun(given, entry({ now: given.receivedAt, by }, "accepted"));
}

/** Our report to the sender of another mail. `detail`: on which, and why its sender may be told. */
export function reportMade(given: Given, detail: string): MailRecord {
  return begun(given, entry({ now: given.receivedAt }, "report made", detail));
}

/** A part of a split mail: it shares body, client and sender with its parent and has its group's recipients. */
export function splitOff(
  parent: MailRecord,
  addresses: readonly string[],
  ordinal: number,
  { now }: Moment,
): MailRecord {
  const own = new Set(addresses);
  const { _id: parentId, receivedAt, body, header } = parent;
  return begun(
    {
      _id: childMailId(parentId, ordinal),
      origin: { ...parent.origin, via: "split", name: parentId },
      smtp: { ...parent.smtp, rcptTo: [...addresses] },
      recipients: parent.recipients.filter(({ address }) => own.has(address)),
      receivedAt,
      body,
      ...(header !== undefined && { header }),
      ...unknownOf(parent, own),
      parentId,
    },
    entry({ now }, "split off", `from ${parentId}`),
  );
}

/** I8: what may be at the hop already is so for the child that carries the recipient on. */
function unknownOf({ unknown }: MailRecord, own: ReadonlySet<string>): Pick<MailRecord, "unknown"> {
  const recipients = unknown?.recipients.filter((address) => own.has(address)) ?? [];
  return unknown === undefined || recipients.length === 0
    ? {}
    : { unknown: { ...unknown, recipients } };
}
