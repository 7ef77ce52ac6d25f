import { BSON, ObjectId } from "mongodb";
import { describe, expect, test } from "vitest";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import { explain } from "../src/explain.ts";
import { takenUp } from "@rs-agent/shared/life/interventions.ts";
import { retryDead } from "../src/interventions.ts";
import { mailList } from "../src/mail-list.ts";
import type { SeenSystem } from "../src/seen-system.ts";
import { width } from "../src/terminal.ts";
import { rsAgent } from "../src/called-as.ts";
import { deadMail, finalMail, infected, mailWith, plan, quarantinedMail, spam } from "./run-cli.ts";

const now = new Date("2026-02-01T12:00:00Z");
const before = (seconds: number) => new Date(now.getTime() - seconds * 1000);

const healthy: SeenSystem = {
  services: [
    { id: "d1", service: "dispatcher", at: now },
    { id: "r1", service: "relay", at: now },
  ],
  workers: [worker()],
  demand: [],
  routes: [],
  overloads: [],
  paused: [],
  ownChecks: [],
};

function worker(unable?: string) {
  const credit = { tasks: 1, bytes: 1 };
  const known = { id: "av-1", kind: "virus" as const, mailbox: "tcp://127.0.0.1:1", state: "open" };
  return { ...known, unable, grant: credit, outstanding: credit, dispatchers: ["d1"] };
}

/** The story on one line; checks that every line of it fits the width. */
function story(mail: MailRecord, kin: MailRecord[] = [], system = healthy): string {
  const text = explain(mail, kin, now, system);
  expect(text.split("\n").filter((line) => line.length > width)).toEqual([]);
  return text.replace(/\s+/g, " ");
}

describe("what comes next", () => {
  test("comes with what is in its way: a pause, no able worker, no dispatcher", () => {
    const mail = mailWith({ dueAt: before(10) });
    expect(story(mail)).toContain("next waits for virus, due now history");
    const paused = [{ step: "virus" as const, by: "ann", at: before(60) }];
    expect(story(mail, [], { ...healthy, paused })).toContain(
      `virus is paused by ann (1m ago): to go on, ${rsAgent} resume virus`,
    );
    expect(story(mail, [], { ...healthy, workers: [worker("the canary failed")] })).toContain(
      "no virus worker is able: av-1: the canary failed",
    );
    expect(story(mail, [], { ...healthy, workers: [] })).toContain("none is known to a dispatcher");
    expect(story(mail, [], { ...healthy, services: [] })).toContain(
      "no dispatcher has reported in the last 10 s",
    );
  });

  test("for a mail that no engine could check says how long it waits", () => {
    const uncheckedSince = { check: "virus", reason: "time-out", at: before(3600) } as const;
    expect(story(mailWith({ uncheckedSince }))).toContain(
      "no virus verdict (time-out) since 2026-02-01 11:00:00Z; quarantine by policy in 3h",
    );
  });

  test("for a mail whose hop is away is its next try, its end, and why", () => {
    const key = "hop.example:25|";
    const routes = [
      { route: key, relay: "r1", heldMails: 0, openSessions: 0, failure: "connect ECONNREFUSED" },
    ];
    const mail = mailWith({
      state: "ready",
      next: key,
      dueAt: before(-300),
      receivedAt: before(86_400),
      recipients: [{ address: "b@t.example", outcome: "open", attempts: 1, status: "4.4.1" }],
    });
    const told = story(mail, [], { ...healthy, routes });
    expect(told).toContain(
      "waits for the relay to hop.example:25, due in 5m; held for a person in 4d",
    );
    expect(told).toContain("r1 cannot send there: connect ECONNREFUSED");
    const sentOut = { ...mail, plan: { ...plan, direction: "outgoing" as const } };
    expect(story(sentOut)).toContain("; given up in 4d");
    expect(story({ ...mail, queuedAt: before(0) })).toContain("; held for a person in 5d");
  });

  test("for incoming mail whose time is over is to look at the hop, and how to take the mail up again", () => {
    const mail = finalMail({
      state: "held",
      route: { ...plan.route, key: "hop.example:25|", host: "hop.example", port: 25 },
      reason: "its time in the queue is over: b@t.example: 451 4.3.2 not now",
      history: [{ at: new Date(), event: "held", cause: "time-over" }],
    });
    const told = story(mail);
    expect(told).toContain("see why hop.example:25 does not take it");
    expect(told).toContain(`${rsAgent} retry-now ${mail._id}`);
  });

  test("for mail of which nobody was told says so, why, and how to try it again", () => {
    const mail = finalMail({
      state: "bounced",
      reason: "no report, SPF none for x.example, no aligned DKIM signature: b@t.example: 550 no",
      finalAt: before(10),
      expireAt: before(-30 * 86_400),
      recipients: [{ address: "b@t.example", outcome: "bounced", attempts: 1, report: "none" }],
    });
    const told = story(mail);
    expect(told).toContain("b@t.example: bounced, 1 attempt, report: none");
    expect(told).toContain("no report, SPF none for x.example");
    expect(told).toContain(
      `nobody was told, removed in 30d; to try it again: ${rsAgent} retry-now ${mail._id}`,
    );
  });

  test("for mail that an earlier version held lacks the cause that that version did not write", () => {
    const history = [
      { at: new Date(), event: "relay attempt", detail: "hop: 1 deferred: 451 4.3.2 not now" },
      { at: new Date(), event: "held", by: "relay-1", detail: "its time in the queue is over" },
    ] as const;
    const reason = "its time in the queue is over: b@t.example: 451 4.3.2 not now";
    const told = story(finalMail({ state: "held", reason, history: [...history] }));
    expect(told).toContain("relay attempt: hop: 1 deferred: 451 4.3.2 not now");
    expect(told).toContain(`a person must act: try it again if its policy has been changed`);
  });

  test("for held mail is what a person has to do: override a finding if policy holds it", () => {
    const byPerson = finalMail({
      ...{ state: "held", verdicts: { spam }, reason: "held by ann" },
      history: [{ at: new Date(), event: "held", by: "ann", cause: "person" }],
    });
    expect(story(byPerson)).toContain(`a person must act: ${rsAgent} retry-now ${byPerson._id}`);
    const rules = { ...plan, virus: plan.virus && { ...plan.virus, onInfected: "hold" as const } };
    const byPolicy = finalMail({ state: "held", plan: rules, verdicts: { virus: infected } });
    expect(story(byPolicy)).toContain(
      `quarantine release ${byPolicy._id} \\ --override 'infected: Eicar-Signature'`,
    );
  });

  test("for a release names what keeps the mail back, not what policy lets pass marked", () => {
    const tagged = { ...spam, finding: { ...spam.finding, score: 6 } };
    const told = story(quarantinedMail({ verdicts: { virus: infected, spam: tagged } }));
    expect(told).toContain("--override 'infected: Eicar-Signature' history");
    expect(told).not.toContain("--override 'spam'");
  });
});

describe("a step's wait", () => {
  const at = before(0);
  const clean = { ...infected, finding: { kind: "clean" as const } };

  test("counts from the end of the step before, whatever kept it", () => {
    const mail = mailWith({
      receivedAt: before(100),
      verdicts: {
        virus: { ...clean, at: before(60), queueMs: 1, workMs: 10_000 },
        spam: { ...spam, at, queueMs: 2, workMs: 1_500 },
      },
    });
    expect(story(mail)).toContain("by w1, waited 30s, worked 10s");
    expect(story(mail)).toContain("waited 58s, worked 1.5s");
  });

  test("starts again with a release", () => {
    const released = { at: before(5), event: "released", by: "ann" } as const;
    const virus = { ...clean, at: before(900), queueMs: 1, workMs: 10 };
    const mail = mailWith({
      receivedAt: before(1_000),
      history: [released],
      verdicts: { virus, spam: { ...spam, at, queueMs: 2, workMs: 1_000 } },
    });
    expect(story(mail)).toContain("waited 4.0s, worked 1.0s");
  });

  test("is the worker's own queue if its clock is ahead of the database's", () => {
    const virus = { ...clean, at: before(200), queueMs: 7, workMs: 10 };
    expect(story(mailWith({ receivedAt: before(100), verdicts: { virus } }))).toContain(
      "waited 7ms, worked 10ms",
    );
  });
});

describe("kin", () => {
  test("of a split mail tell the recipients' stories, with the hops' last replies", () => {
    const sent = { address: "b@t.example", outcome: "sent" as const, attempts: 2, reply: "250 ok" };
    const part = finalMail({ state: "sent", parentId: "p", recipients: [sent] });
    const told = story(finalMail({ state: "split", finalAt: now }), [part]);
    expect(told).toContain(`parts ${part._id}: sent b@t.example: sent, 2 attempts 250 ok`);
    expect(told).not.toContain("no verdict yet");
  });

  test("of a bounced mail are our reports on it", () => {
    const bounced = [{ address: "b@t.example", outcome: "bounced" as const, attempts: 1 }];
    const mail = finalMail({ state: "bounced", recipients: bounced, finalAt: now });
    const origin = { via: "dsn" as const, name: mail._id };
    const report = finalMail({
      state: "dead",
      origin,
      reason: "double-bounce: 550 no",
      recipients: [{ address: "a@x.example", outcome: "dead", attempts: 1 }],
    });
    expect(story(mail, [report])).toContain(
      `report ${report._id} to a@x.example dead: double-bounce: 550 no`,
    );
    expect(story(report)).toContain(`via our own report on ${mail._id}`);
  });
});

test("a document that never was a mail is shown as it was found, with its reason line by line", () => {
  const mail = deadMail({ reason: "it is none:\n→ at v", malformed: { hello: "world" } });
  const text = explain(mail, [], now, healthy);
  expect(text).toContain("state       dead: it is none:\n            → at v\n");
  expect(text).toContain('record      {"hello":"world"}');
  expect(text).not.toContain("no verdict yet");
});

test("a dead source record is shown as such, and nobody is told to send it as mail", () => {
  const {
    header: none,
    plan: noPlan,
    ...letter
  } = deadMail({
    origin: { via: "source", name: "portal" },
    reason: "record of source portal: smtp: is missing",
    history: [{ at: new Date(), event: "dead" }],
  });
  expect([none, noPlan]).not.toContain(undefined);
  const text = story(letter);
  expect(text).not.toContain("dead retry");
  expect(text).toContain(
    `record of source portal: ${rsAgent} dead show ${letter._id} --raw prints it`,
  );
  expect(text).toContain(`into source portal again under a new _id, then ${rsAgent} dead drop`);
});

describe("a source record that nobody has read", () => {
  const { header, plan, direction, ...mail } = mailWith({});
  expect([header, plan, direction]).toBeDefined();
  const record = BSON.serialize({ _id: new ObjectId("0123456789abcdef01234567") });
  const stub: MailRecord = {
    ...mail,
    state: "incoming",
    next: "adopt",
    dueAt: now,
    origin: { via: "source", name: "portal", record },
    recipients: [],
  };

  test("is shown by its _id in the source, and waits for a dispatcher to read it", () => {
    const text = story(stub);
    expect(text).toContain('of source portal _id {"$oid":"0123456789abcdef01234567"}');
    expect(text).toContain("waits for a dispatcher to read it, due now");
    expect(text).not.toContain("policy");
    expect(mailList([stub], { limit: 9 })).toContain("record of source portal");
    expect(mailList([stub], { limit: 9 })).not.toContain("nobody");
  });

  test("is shown the same way once it is gone", () => {
    const { next, dueAt, ...gone } = stub;
    expect([next, dueAt]).toBeDefined();
    const text = story({ ...gone, state: "discarded", reason: "record gone", finalAt: now });
    expect(text).toContain("discarded: record gone");
    expect(text).toContain("of source portal _id");
    expect(text).not.toContain("dead show");
  });

  test("is read again by `dead retry` if services died over it, and the letter says so", () => {
    const { next, dueAt, ...dead } = stub;
    expect([next, dueAt]).toBeDefined();
    const history = [{ at: now, event: "dead", cause: "services-ended" }] as const;
    const letter: MailRecord = { ...dead, state: "dead", finalAt: now, history: [...history] };
    const text = story(letter);
    expect(text).toContain("of source portal _id");
    expect(text).not.toContain("dead show");
    expect(text).toContain(`to have its record read again: ${rsAgent} dead retry ${mail._id}`);
    const { change, told } = retryDead(letter, { by: "ann", now });
    expect(change.set).toMatchObject({ state: "incoming", next: "adopt", dueAt: now });
    expect(told).toBe("its record is read again, due now");
  });

  test("is read, not planned, if a person has it tried at once", () => {
    const { set } = takenUp({ ...stub, state: "held" }, { now });
    expect(set).toMatchObject({ state: "incoming", next: "adopt" });
  });

  test("names its record as the way it came in once it is a mail", () => {
    const text = story({ ...mailWith({}), origin: stub.origin });
    expect(text).toContain('source portal, record {"$oid":"0123456789abcdef01234567"}');
  });
});
