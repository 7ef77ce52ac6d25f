import { isDeepStrictEqual } from "node:util";
import { splitOff } from "@rs-agent/shared/life/beginnings.ts";
import { groupsFrozen, planned, split as splitUp } from "@rs-agent/shared/life/processing.ts";
import { planHash, type Plan } from "@rs-agent/shared/mail/plan.ts";
import type { Effect, Knowledge } from "./effects.ts";
import type { HeldMail } from "./held-mail.ts";
import { die, forgetTransientVerdicts, noteEngineAway } from "./mail-flow.ts";

/**
 * Gives a claimed mail its plan by the current policies. If its recipients' policies differ, it
 * is split instead, and its children come by themselves.
 */
export function plan(know: Knowledge, held: HeldMail): Effect[] {
  forgetTransientVerdicts(held);
  const { mail } = held;
  const groups = know.book.groups(mail);
  const frozen = mail.groups ?? groups.map((group) => group.recipients);
  const [first] = groups;
  if (first === undefined || frozen.length > 1) return split(know, held, frozen);
  if (!samePlan(mail.plan, first.plan) || mail.state !== "processing") {
    held.note(planned(mail, { plan: first.plan, ...know.moment }));
  }
  held.plan = first.plan;
  return [...noteEngineAway(know, held), { kind: "go on" }];
}

/** By content, which was read back from the database with its keys in another order, and by what it came of. */
function samePlan(before: Plan | undefined, after: Plan): boolean {
  if (before === undefined || planHash(before) !== planHash(after)) return false;
  return isDeepStrictEqual(documentsOf(before), documentsOf(after));
}

function documentsOf({ policyIds, revision }: Plan) {
  return { policyIds, revision };
}

/**
 * Crash-safe: the groups are frozen in the parent, each child is upserted under an id that derives
 * from them, and only then is the parent final. The dispatcher that claims it after a crash goes on from there.
 */
function split(know: Knowledge, held: HeldMail, groups: string[][]): Effect[] {
  if (groups.length === 0) {
    return die(know, held, "incomplete", "the mail has no open recipient");
  }
  if (held.mail.groups !== undefined) return splitInto(know, held, groups);
  held.note(groupsFrozen(held.mail, { groups, ...know.moment }));
  return [{ kind: "write", then: (then) => splitInto(then, held, groups) }];
}

function splitInto({ moment }: Knowledge, held: HeldMail, groups: string[][]): Effect[] {
  const mails = groups.map((group, ordinal) => splitOff(held.mail, group, ordinal, moment));
  const end = () => {
    held.note(splitUp(held.mail, moment));
    return [{ kind: "finish" } as const];
  };
  return [{ kind: "insert", mails, then: end }];
}
