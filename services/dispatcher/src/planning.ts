import { childMailId } from "@rs-agent/shared/ids.ts";
import { settingsHashOf } from "@rs-agent/shared/mail/task-settings.ts";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import type { PolicyBook } from "@rs-agent/shared/policy/effective.ts";
import type { Plan } from "@rs-agent/shared/mail/plan.ts";
import { note, type HeldMail } from "./held-mail.ts";
import { end, type MailFlowDeps } from "./mail-flow.ts";
import * as transitions from "./transitions.ts";

export interface PlanningDeps extends Pick<
  MailFlowDeps,
  "actorId" | "clock" | "log" | "logAddresses"
> {
  book: () => PolicyBook;
  /** Stores a child of a held mail. */
  insert: (parent: HeldMail, child: MailRecord) => Promise<unknown>;
  /** Writes what is pending, the lease kept; false: the lease is lost. */
  write: (held: HeldMail) => Promise<boolean>;
  /** Writes what is pending and ends our part in the mail. */
  finish: (held: HeldMail) => Promise<void>;
}

/**
 * Gives a claimed mail its plan by the current policies. Where its recipients' policies differ, it
 * is split instead, and its children come by themselves.
 */
export async function plan(deps: PlanningDeps, held: HeldMail): Promise<"planned" | "over"> {
  const { mail } = held;
  const groups = deps.book().groups(mail);
  const frozen = mail.groups ?? groups.map((group) => group.recipients);
  const [first] = groups;
  if (first === undefined || frozen.length > 1) {
    await split(deps, held, frozen);
    return "over";
  }
  if (!samePlan(mail.plan, first.plan) || mail.state !== "processing") {
    note(held, transitions.planned(first.plan, deps.clock.now(), deps.actorId));
  }
  held.plan = first.plan;
  return "planned";
}

/** By content: a plan read back from the database has its keys in another order. */
function samePlan(before: Plan | undefined, after: Plan): boolean {
  return before !== undefined && settingsHashOf(before) === settingsHashOf(after);
}

/**
 * Crash-safe: the groups are frozen in the parent, each child is upserted under an id that derives
 * from them, and only then is the parent final. Whoever claims it after a crash goes on from there.
 */
async function split(deps: PlanningDeps, held: HeldMail, groups: string[][]): Promise<void> {
  const parent = held.mail;
  if (groups.length === 0) {
    const now = deps.clock.now();
    end(deps, held, "dead", "the mail has no open recipient", now);
    return deps.finish(held);
  }
  if (parent.groups === undefined) {
    note(held, transitions.groupsFrozen(groups, deps.clock.now(), deps.actorId));
    if (!(await deps.write(held))) return;
  }
  const now = deps.clock.now();
  await Promise.all(
    groups.map((group, ordinal) => deps.insert(held, childOf(parent, group, ordinal, now))),
  );
  note(held, transitions.split(now, deps.actorId));
  await deps.finish(held);
}

/** I8: what may be at the hop already is so for the child that carries the recipient on. */
function unknownIn({ unknown }: MailRecord, own: ReadonlySet<string>): Pick<MailRecord, "unknown"> {
  const recipients = unknown?.recipients.filter((address) => own.has(address)) ?? [];
  return unknown === undefined || recipients.length === 0
    ? {}
    : { unknown: { ...unknown, recipients } };
}

/** A child shares body, client and sender with its parent and has its group's recipients. */
function childOf(
  parent: MailRecord,
  addresses: readonly string[],
  ordinal: number,
  now: Date,
): MailRecord {
  const own = new Set(addresses);
  return {
    _id: childMailId(parent._id, ordinal),
    v: parent.v,
    state: "incoming",
    next: "plan",
    dueAt: parent.receivedAt,
    origin: { ...parent.origin, via: "split", name: parent._id },
    smtp: { ...parent.smtp, rcptTo: [...addresses] },
    recipients: parent.recipients.filter((recipient) => own.has(recipient.address)),
    receivedAt: parent.receivedAt,
    body: parent.body,
    ...(parent.header === undefined ? {} : { header: parent.header }),
    ...unknownIn(parent, own),
    verdicts: {},
    parentId: parent._id,
    history: [{ at: now, event: "split off", detail: `from ${parent._id}` }],
  };
}
