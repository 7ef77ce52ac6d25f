import { splitOff } from "@rs-agent/shared/life/beginnings.ts";
import { groupsFrozen, planned, split as splitUp } from "@rs-agent/shared/life/processing.ts";
import { settingsHashOf } from "@rs-agent/shared/mail/task-settings.ts";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import type { PolicyBook } from "@rs-agent/shared/policy/effective.ts";
import type { Plan } from "@rs-agent/shared/mail/plan.ts";
import type { Effect, Knowledge } from "./effects.ts";
import type { HeldMail } from "./held-mail.ts";
import { die } from "./mail-flow.ts";

export interface PlanningDeps {
  /** This step of ours, now. */
  moment: () => Knowledge["moment"];
  book: () => PolicyBook;
  /** Stores a child of a held mail. */
  insert: (parent: HeldMail, child: MailRecord) => Promise<unknown>;
  /** Writes what is pending, the lease kept; false: the lease is lost. */
  write: (held: HeldMail) => Promise<boolean>;
  carryOut: (held: HeldMail, effects: readonly Effect[]) => Promise<void>;
}

/**
 * Gives a claimed mail its plan by the current policies. If its recipients' policies differ, it
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
    held.note(planned(mail, { plan: first.plan, ...deps.moment() }));
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
 * from them, and only then is the parent final. The dispatcher that claims it after a crash goes on from there.
 */
async function split(deps: PlanningDeps, held: HeldMail, groups: string[][]): Promise<void> {
  const parent = held.mail;
  if (groups.length === 0) {
    const reason = "the mail has no open recipient";
    return deps.carryOut(held, die({ moment: deps.moment() }, held, "incomplete", reason));
  }
  if (parent.groups === undefined) {
    held.note(groupsFrozen(parent, { groups, ...deps.moment() }));
    if (!(await deps.write(held))) return;
  }
  const moment = deps.moment();
  await Promise.all(
    groups.map((group, ordinal) => deps.insert(held, splitOff(parent, group, ordinal, moment))),
  );
  if (held.over) return;
  held.note(splitUp(held.mail, moment));
  await deps.carryOut(held, [{ kind: "finish" }]);
}
