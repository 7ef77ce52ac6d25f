import { TerminalError } from "../errors.ts";
import type { MailRecord } from "../mail/record.ts";
import type { MailChange } from "./change.ts";
import type { EventName } from "./events.ts";
import { finalOutcomes } from "./outcomes.ts";
import { waitingStates, workedStates, type MailState } from "./states.ts";

/** One step of a mail's life. */
export interface Transition {
  /** The states in which it may be taken; none: with it the record begins. */
  readonly from: readonly MailState[];
  /** Where it may lead; `same`: the state stays. */
  readonly to: readonly (MailState | "same")[];
  /** Who takes it. */
  readonly by: readonly ("ingest" | "dispatcher" | "relay" | "person" | "store")[];
  /** What it writes into the history, some of it only if there is something to tell. */
  readonly events: readonly EventName[];
}

/** A dispatcher claims these; a held mail only when its time has come. */
const dispatchers = ["incoming", "processing", "held"] as const;
const relays = ["ready", "relaying"] as const;
const backToWork = ["incoming", "processing"] as const;

/** Every transition that there is (docs/records.md shows them); each is one function of its name in this folder. */
export const transitions = {
  accepted: { from: [], to: ["incoming"], by: ["ingest"], events: ["accepted"] },
  stubMade: { from: [], to: ["incoming"], by: ["dispatcher"], events: [] },
  splitOff: { from: [], to: ["incoming"], by: ["dispatcher"], events: ["split off"] },
  reportMade: {
    from: [],
    to: ["incoming"],
    by: ["dispatcher", "relay", "person"],
    events: ["report made"],
  },
  buried: { from: [], to: ["dead"], by: ["store"], events: ["dead"] },
  adopted: { from: ["incoming"], to: ["incoming"], by: ["dispatcher"], events: ["adopted"] },
  unadopted: { from: ["incoming"], to: ["dead"], by: ["dispatcher"], events: ["dead"] },
  recordGone: { from: ["incoming"], to: ["discarded"], by: ["dispatcher"], events: ["discarded"] },
  recordBack: { from: ["discarded"], to: ["incoming"], by: ["store"], events: ["record back"] },
  unreadYet: { from: ["incoming"], to: ["incoming"], by: ["dispatcher"], events: [] },
  planned: { from: dispatchers, to: ["processing"], by: ["dispatcher"], events: ["planned"] },
  groupsFrozen: {
    from: dispatchers,
    to: ["processing"],
    by: ["dispatcher"],
    events: ["groups frozen"],
  },
  split: { from: dispatchers, to: ["split"], by: ["dispatcher"], events: ["split"] },
  givenBack: { from: dispatchers, to: backToWork, by: ["dispatcher"], events: [] },
  checkWaits: { from: ["processing"], to: ["processing"], by: ["dispatcher"], events: [] },
  ready: { from: ["processing"], to: ["ready"], by: ["dispatcher"], events: ["ready"] },
  ended: {
    from: ["processing"],
    to: ["quarantined", "discarded", "bounced"],
    by: ["dispatcher"],
    events: ["quarantined", "discarded", "bounced"],
  },
  died: { from: waitingStates, to: ["dead"], by: ["dispatcher", "relay"], events: ["dead"] },
  held: {
    from: waitingStates,
    to: ["held"],
    by: ["dispatcher", "relay", "person", "store"],
    events: ["held"],
  },
  unsent: { from: relays, to: relays, by: ["relay"], events: [] },
  planLost: { from: relays, to: ["processing"], by: ["relay"], events: [] },
  marked: { from: relays, to: ["relaying"], by: ["relay"], events: ["sent again"] },
  wentOn: { from: relays, to: ["relaying"], by: ["relay"], events: ["relay attempt"] },
  deferred: {
    from: relays,
    to: ["ready", "relaying"],
    by: ["relay"],
    events: ["relay attempt", "not reported"],
  },
  timeOver: {
    from: relays,
    to: ["held"],
    by: ["relay"],
    events: ["relay attempt", "not reported", "held"],
  },
  finished: {
    from: relays,
    to: finalOutcomes,
    by: ["relay"],
    events: ["relay attempt", "not reported"],
  },
  outcomeUnknown: {
    from: relays,
    to: ["relaying", "held"],
    by: ["relay"],
    events: ["relay attempt", "not reported", "outcome unknown", "held"],
  },
  unknownWaits: { from: relays, to: ["same"], by: ["relay"], events: [] },
  released: {
    from: ["quarantined", "held"],
    to: backToWork,
    by: ["person"],
    events: ["released"],
  },
  takenUp: { from: ["held"], to: backToWork, by: ["person"], events: ["taken up again"] },
  unreportedTakenUp: {
    from: ["bounced"],
    to: backToWork,
    by: ["person"],
    events: ["taken up again"],
  },
  deadTakenUp: {
    from: ["dead"],
    to: backToWork,
    by: ["person"],
    events: ["dead letter tried again"],
  },
  hurried: { from: workedStates, to: ["same"], by: ["person"], events: ["retry now"] },
  cancelled: {
    from: ["incoming", "processing", "ready", "held"],
    to: finalOutcomes,
    by: ["person"],
    events: ["cancelled"],
  },
  dropped: { from: ["quarantined", "dead"], to: ["same"], by: ["person"], events: ["deleted"] },
  resent: {
    from: ["held"],
    to: ["relaying", ...backToWork],
    by: ["person"],
    events: ["to be sent again"],
  },
  settled: {
    from: ["held"],
    to: [...finalOutcomes, "ready", "held", ...backToWork],
    by: ["person"],
    events: ["outcome found out"],
  },
  takenInHand: { from: ["held"], to: ["same"], by: ["person"], events: [] },
} as const satisfies Record<string, Transition>;

export type TransitionName = keyof typeof transitions;

/** Whether the mail's state allows this step. */
export function mayTake({ state }: Pick<MailRecord, "state">, name: TransitionName): boolean {
  const { from }: Transition = transitions[name];
  return from.includes(state);
}

/**
 * The function of a transition: from the record and typed facts to the change, refused in a state from
 * which it may not be taken.
 */
export function transition<Facts>(
  name: TransitionName,
  change: (mail: MailRecord, facts: Facts) => MailChange,
): (mail: MailRecord, facts: Facts) => MailChange {
  return (mail, facts) => {
    if (mayTake(mail, name)) return change(mail, facts);
    const { from }: Transition = transitions[name];
    throw new TerminalError(
      "LIFE_REFUSED",
      `${mail._id} is ${mail.state}: ${name} is for mail that is ${from.join(", ")}`,
    );
  };
}
