import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import { expect, it } from "vitest";
import { HeldMail } from "../src/held-mail.ts";
import { HeldMails } from "../src/held-mails.ts";
import { createPlacement } from "../src/placement.ts";
import { Holding } from "@rs-agent/shared/store/holding.ts";

/** It holds `{ mail }` with a lease that is valid for a second; the test sets the time. */
function openDesk() {
  const time = { ms: 0 };
  const left: string[] = [];
  const cancelled: string[] = [];
  const held = new HeldMails({
    mails: { write: () => Promise.reject(new Error()), renew: () => Promise.reject(new Error()) },
    readBody: () => Promise.reject(new Error("nothing is read in this test")),
    onRead: () => Promise.resolve(),
    clock: { monotonicMs: () => time.ms },
    log: createSilentLogger(),
    leaseMs: 1_000,
    maxMails: 10,
    maxBytes: 1_000,
    cancelTask: (taskId) => cancelled.push(taskId),
    closing: new AbortController().signal,
    onFinished: () => undefined,
    onLeft: ({ mail }) => left.push(mail._id),
  });
  const record = { _id: "m1", body: { size: 1 } } as MailRecord;
  const mail = new HeldMail({
    mail: record,
    holding: new Holding(record, "t"),
    validUntilMs: 1_000,
  });
  mail.raw = Buffer.from("x");
  held.add(mail);
  return { time, held, mail, left, cancelled };
}

it("I3, I8: gives a mail to no worker once its lease is over, though no timer has said so yet", () => {
  const { time, held, mail, left } = openDesk();
  const sent: string[] = [];
  let credit = 0;
  const placement = createPlacement({
    pool: { free: () => ({ tasks: credit, bytes: 1_000 }) },
    monotonicMs: () => time.ms,
    placeMs: 10_000,
    isOurs: (each) => held.isOurs(each),
    send: (each) => sent.push(each.mail._id) > 0,
    backlogs: { begin: () => expect.fail("it is not ours to give back") },
    isPaused: () => false,
  });
  placement.enqueue(mail, "virus");
  credit = 1;
  time.ms = 1_000;
  placement.poke("virus");
  expect(sent).toEqual([]);
  expect(left).toEqual(["m1"]);
  expect(placement.waiting("virus")).toBe(0);
});

it("I3: stops the tasks of a mail whose lease is over", () => {
  const { time, held, mail, cancelled } = openDesk();
  held.taskSent(mail, "task-1", "virus");
  time.ms = 999;
  expect(held.isOurs(mail)).toBe(true);
  time.ms = 1_000;
  expect(held.isOurs(mail)).toBe(false);
  expect(cancelled).toEqual(["task-1"]);
});
