import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it, test } from "vitest";
import * as records from "../../src/life/adoption.ts";
import { accepted, reportMade, splitOff } from "../../src/life/beginnings.ts";
import type { MailChange } from "../../src/life/change.ts";
import { buried } from "../../src/life/dead-letter.ts";
import { died, ended, held, holdCause } from "../../src/life/endings.ts";
import { eventNames } from "../../src/life/events.ts";
import * as people from "../../src/life/interventions.ts";
import { finalOutcomes, type FinalOutcome } from "../../src/life/outcomes.ts";
import * as dispatchers from "../../src/life/processing.ts";
import * as relays from "../../src/life/relaying.ts";
import { isFinal, mailStates, type MailState } from "../../src/life/states.ts";
import { transitions, type Transition, type TransitionName } from "../../src/life/transitions.ts";
import type { MailRecord, Recipient } from "../../src/mail/record.ts";
import { recordAfter } from "../../src/store/mail-change.ts";
import { mailIn, now, plan, verdict } from "./mails.ts";

const root = join(import.meta.dirname, "../../..");
const by = "actor-1";
const moment = { now, by };
const mark = {
  ...{ attempt: 1, at: now, connection: "192.0.2.2:25", relay: by },
  recipients: ["bob@example.net"],
};
const bob = (outcome: Recipient["outcome"], given: Partial<Recipient> = {}): Recipient[] => [
  { address: "bob@example.net", outcome, attempts: 1, ...given },
];

function attempt(recipients: Recipient[], given: Partial<relays.AttemptFacts> = {}) {
  const statuses = [{ status: "deferred", reply: "451 later" }] as const;
  const startedAt = now;
  return { recipients, statuses, hop: "hop", startedAt, hadMark: true, ...moment, ...given };
}

type Taken = (mail: MailRecord) => MailChange;
type Beginning = Extract<
  TransitionName,
  "accepted" | "stubMade" | "splitOff" | "reportMade" | "buried"
>;

/** Each transition with possible facts, as often as it may lead elsewhere. */
const taken: Record<Exclude<TransitionName, Beginning>, Taken[]> = {
  adopted: [(mail) => records.adopted(mail, { ...mail, receivedAt: now })],
  unadopted: [
    (mail) => records.unadopted(mail, buried({ smtp: { rcptTo: ["x"] } }, "m", "no record", now)),
  ],
  recordGone: [(mail) => records.recordGone(mail, moment)],
  recordBack: [(mail) => records.recordBack(mail, moment)],
  unreadYet: [(mail) => records.unreadYet(mail, { reason: "no file", retryAt: now })],
  planned: [(mail) => dispatchers.planned(mail, { plan, ...moment })],
  groupsFrozen: [(mail) => dispatchers.groupsFrozen(mail, { groups: [["a"], ["b"]], ...moment })],
  split: [(mail) => dispatchers.split(mail, moment)],
  givenBack: [
    (mail) => dispatchers.givenBack(mail, { next: "plan" }),
    (mail) => dispatchers.givenBack(mail, { next: "virus", reason: "lost" }),
  ],
  checkWaits: [
    (mail) =>
      dispatchers.checkWaits(mail, {
        ...{ check: "virus", unchecked: "engine-away", since: now, next: "virus", retryAt: now },
        reason: "away",
      }),
  ],
  ready: [
    (mail) => dispatchers.ready(mail, { plan, disposition: "tag", enriched: undefined, ...moment }),
  ],
  ended: (["quarantined", "discarded", "bounced"] as const).map(
    (outcome): Taken =>
      (mail) =>
        ended(mail, { outcome, disposition: "quarantine", reason: "found", ...moment }),
  ),
  died: [(mail) => died(mail, { cause: "incomplete", reason: "no body", ...moment })],
  held: [
    (mail) => held(mail, { cause: "person", reason: "held by ann", ...moment }),
    (mail) => held(mail, { cause: "unable", reason: "no key", retryAt: now, ...moment }),
  ],
  planLost: [(mail) => relays.planLost(mail, undefined)],
  unsent: [
    (mail) => relays.unsent(mail, {}),
    (mail) => relays.unsent({ ...mail, unknown: mark }, {}),
    (mail) => relays.unsent({ ...mail, unknown: mark }, { takesMarkBack: true }),
  ],
  marked: [
    (mail) => relays.marked(mail, { mark }),
    (mail) => relays.marked({ ...mail, unknown: mark }, { mark }),
  ],
  wentOn: [(mail) => relays.wentOn(mail, { mark, attempt: attempt(bob("sent")) })],
  deferred: [
    (mail) => relays.deferred(mail, { attempt: attempt(bob("open")), dueAt: now }),
    (mail) =>
      relays.deferred(
        { ...mail, unknown: mark },
        { attempt: attempt(bob("open"), { hadMark: false, notTold: "SPF" }), dueAt: now },
      ),
  ],
  timeOver: [
    (mail) =>
      relays.timeOver(mail, {
        attempt: attempt(bob("open"), { notTold: "SPF" }),
        reason: "its time is over",
      }),
  ],
  finished: finalOutcomes.map(
    (outcome): Taken =>
      (mail) =>
        relays.finished(mail, { attempt: attempt(bob(outcome), { notTold: "SPF" }) }),
  ),
  outcomeUnknown: (["resend", "hold"] as const).flatMap((then): Taken[] => {
    const facts = { mark, detail: "cut", resolveAt: now, then, ...moment };
    const after = attempt(bob("open"), { notTold: "SPF" });
    return [
      (mail) => relays.outcomeUnknown(mail, facts),
      (mail) => relays.outcomeUnknown(mail, { ...facts, attempt: after }),
    ];
  }),
  unknownWaits: [(mail) => relays.unknownWaits(mail, { dueAt: now })],
  released: [
    (mail) => people.released(mail, { overrides: [], detail: "", ...moment }),
    (mail) => people.released(planless(mail), { overrides: [], detail: "", ...moment }),
  ],
  takenUp: eitherWay((mail) => people.takenUp(mail, moment)),
  unreportedTakenUp: eitherWay((mail) => people.unreportedTakenUp(mail, moment)),
  deadTakenUp: eitherWay((mail) => people.deadTakenUp(mail, moment)),
  hurried: [(mail) => people.hurried(mail, moment)],
  cancelled: [
    (mail) => people.cancelled(mail, { reason: "cancelled", ...moment }),
    ...finalOutcomes.map(
      (outcome): Taken =>
        (mail) =>
          people.cancelled(
            { ...mail, recipients: bob(outcome) },
            { reason: "cancelled", ...moment },
          ),
    ),
  ],
  dropped: [(mail) => people.dropped(mail, moment)],
  resent: [
    (mail) => people.resent(mail, { mark, detail: "", ...moment }),
    (mail) => people.resent(planless(mail), { mark, detail: "", ...moment }),
    (mail) => people.resent(readyToGo(mail), { mark, detail: "", ...moment }),
  ],
  settled: [
    ...finalOutcomes.map(
      (outcome): Taken =>
        (mail) =>
          people.settled(mail, settling({ recipients: bob(outcome), outcome })),
    ),
    (mail) => people.settled(mail, settling({ left: ["bob@example.net"] })),
    (mail) => people.settled(mail, settling({})),
    (mail) => people.settled(planless(mail), settling({})),
    (mail) => people.settled(readyToGo(mail), settling({})),
  ],
  takenInHand: [
    (mail) => people.takenInHand(mail, { lease: { owner: by, token: "t", until: now } }),
  ],
};

function planless(mail: MailRecord): MailRecord {
  const copy = { ...mail };
  Reflect.deleteProperty(copy, "plan");
  return copy;
}

function eitherWay(take: Taken): Taken[] {
  return [take, (mail) => take(planless(mail))];
}

function settling(given: Partial<people.Settling>): people.Settling {
  const outcome: FinalOutcome = "sent";
  return { mark, recipients: bob("open"), outcome, left: [], detail: "", ...moment, ...given };
}

/** Nothing is left to do but to send it. */
function readyToGo(mail: MailRecord): MailRecord {
  const virusAlone = { ...plan };
  Reflect.deleteProperty(virusAlone, "spam");
  Reflect.deleteProperty(virusAlone, "enrich");
  return { ...mail, plan: virusAlone, verdicts: { virus: verdict } };
}

/** Steps of mail that has no recipients yet. */
const ofStubs: ReadonlySet<string> = new Set(["adopted", "unadopted", "recordGone", "recordBack"]);
const names = Object.keys(taken) as (keyof typeof taken)[];
const pairs = names.flatMap((name) => mailStates.map((state) => [name, state] as const));

describe("each transition from each state", () => {
  it.each(pairs)("%s of mail that is %s", (name, state) => {
    const { from, to, events }: Transition = transitions[name];
    for (const take of taken[name]) {
      const mail = mailIn(state, { unended: 1, ...(ofStubs.has(name) && { recipients: [] }) });
      if (!from.includes(state)) {
        expect(() => take(mail)).toThrow(expect.objectContaining({ code: "LIFE_REFUSED" }));
        continue;
      }
      const change = take(mail);
      const after = recordAfter(mail, change);
      expect(to).toContain(to.includes("same") ? "same" : after.state);
      if (to.includes("same")) expect(after.state).toBe(state);
      for (const { event } of change.history ?? []) expect(events).toContain(event);
      expectWhole(after);
    }
  });

  /** What every record in a state must have, and must not have. */
  function expectWhole(mail: MailRecord) {
    const { state, recipients, next, dueAt, finalAt, history } = mail;
    const isEnded = isFinal(state);
    expect(finalAt !== undefined || !isEnded || state === "dead" || state === "quarantined").toBe(
      true,
    );
    if (isEnded && finalAt !== undefined) expect([next, dueAt]).toEqual([undefined, undefined]);
    if (isEnded && finalAt !== undefined && state !== "split") {
      expect(recipients.every(({ outcome }) => outcome !== "open")).toBe(true);
    }
    if (!isEnded && state !== "held") expect([next, dueAt]).not.toContain(undefined);
    if (state === "held" && history.length > 0 && history.at(-1)?.event === "held") {
      expect(holdCause(mail)).toBeDefined();
      expect(next === undefined).toBe(dueAt === undefined);
    }
  }

  test.each(names)("%s leads where the table says, and nowhere else", (name) => {
    const { from, to, events }: Transition = transitions[name];
    const changes = from.flatMap((state) => taken[name].map((take) => take(mailIn(state))));
    const reached = new Set(changes.map(({ set }) => set?.state ?? "same"));
    const told = new Set(changes.flatMap(({ history = [] }) => history.map(({ event }) => event)));
    const stays = (state: MailState | "same") =>
      to.includes("same") || from.includes(state as never);
    for (const state of to) expect(reached.has(state) || stays(state)).toBe(true);
    expect([...told].sort()).toEqual([...events].sort());
  });
});

describe("a record begins", () => {
  const client = { address: "192.0.2.1", name: "", helo: "" };
  const given = {
    _id: "m",
    origin: { via: "smtp" as const, name: "mx" },
    smtp: { mailFrom: "ann@example.org", rcptTo: ["bob@example.net", "eve@example.net"], client },
    receivedAt: now,
    body: mailIn("incoming").body,
  };

  const begun: Record<Beginning, MailRecord> = {
    accepted: accepted(given, by),
    stubMade: records.stubMade(given, { now, lease: { owner: by, token: "t", until: now } }),
    reportMade: reportMade(given, "on mail x"),
    splitOff: splitOff(
      mailIn("processing", { unknown: { ...mark, recipients: ["eve@example.net"] } }),
      ["bob@example.net"],
      0,
      moment,
    ),
    buried: buried({ smtp: { rcptTo: ["bob@example.net"] } }, "m", "no record", now),
  };

  it.each(Object.keys(begun) as Beginning[])("%s", (name) => {
    const { from, to, events }: Transition = transitions[name];
    const { state, history, recipients } = begun[name];
    expect(from).toEqual([]);
    expect(to).toEqual([state]);
    expect(history.map(({ event }) => event)).toEqual(events);
    const outcome = state === "dead" ? "dead" : "open";
    expect(recipients.map((one) => one.outcome)).toEqual(recipients.map(() => outcome));
    expect(recipients.length > 0).toBe(name !== "stubMade");
  });

  it("as a part of a split with only what is unknown about its own recipients (I8)", () => {
    expect(begun.splitOff.unknown).toBeUndefined();
    expect(begun.splitOff).toMatchObject({ parentId: "mail-1", state: "incoming", next: "plan" });
  });
});

describe("docs/records.md", () => {
  const page = readFileSync(join(root, "docs/records.md"), "utf8");

  it("has every transition, from where, to where, who takes it and what it notes", () => {
    const section = page.split("## The life of a mail")[1]?.split("\n## ")[0] ?? "";
    const rows = section.split("\n").flatMap((line) => {
      const [name, from, to, who, events] = line
        .split("|")
        .slice(1, -1)
        .map((cell) => cell.trim().replaceAll("`", ""));
      return name !== undefined && name in transitions ? [[name, from, to, who, events]] : [];
    });
    const list = (items: readonly string[]) => (items.length === 0 ? "–" : items.join(", "));
    const told = Object.entries<Transition>(transitions).map(([name, one]) => [
      name,
      list(one.from),
      list(one.to),
      list(one.by),
      list(one.events),
    ]);
    expect(rows).toEqual(told);
  });

  it("names every outcome", () => {
    for (const outcome of finalOutcomes) expect(page).toContain(`\`${outcome}\``);
  });
});

it("every event is noted by some transition or as a strike", () => {
  const noted = Object.values<Transition>(transitions).flatMap(({ events }) => events);
  expect([...new Set([...noted, "strike"])].sort()).toEqual([...eventNames].sort());
});

it("nobody but the store writes a mail's fields to the database", () => {
  const files = globSync(["{cli,services/*,shared,start,chaos,flood}/src/**/*.ts"], { cwd: root });
  expect(files.length).toBeGreaterThan(300);
  const writers = files.filter((file) => {
    const isStore = file.startsWith("shared/src/store/");
    return !isStore && readFileSync(join(root, file), "utf8").includes("$set");
  });
  expect(writers).toEqual([]);
});
