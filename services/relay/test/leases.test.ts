import { setTimeout as pause } from "node:timers/promises";
import { expect, it, onTestFinished, vi } from "vitest";
import { RetryableError } from "@rs-agent/shared/errors.ts";
import { pino } from "pino";
import type { MailStore } from "@rs-agent/shared/store/mails.ts";
import { createCounts } from "../src/counts.ts";
import { LeaseKeeper } from "../src/leases.ts";
import { writeAndEnd } from "../src/settled-write.ts";
import { readyRecord, routeTo } from "./ready-mail.ts";
import { Holding } from "@rs-agent/shared/store/holding.ts";

function keeper(renew: MailStore["renew"], leaseMs = 300) {
  let skewMs = 0;
  const clock = { monotonicMs: () => performance.now() + skewMs };
  const bugs: unknown[] = [];
  const logged: string[] = [];
  const log = pino({ base: null }, { write: (line: string) => logged.push(line) });
  const leases = new LeaseKeeper({
    mails: { renew },
    clock,
    log,
    leaseMs,
    onBug: (error) => bugs.push(error),
  });
  onTestFinished(() => {
    leases.close();
    expect(bugs).toEqual([]);
  });
  const hold = () => {
    const mail = readyRecord({ route: routeTo(1) });
    const holding = new Holding(mail, "t".repeat(32));
    return leases.hold({ mail, holding, validUntilMs: clock.monotonicMs() + leaseMs });
  };
  return { leases, hold, clock, log, logged, jump: (ms: number) => (skewMs += ms) };
}

const away: MailStore["renew"] = () =>
  Promise.reject(new RetryableError("STORE_UNREACHABLE", "away"));

it("I8: a lease that cannot be renewed ends at its deadline, and so does what is under way", async () => {
  const { hold } = keeper(away);
  const lease = hold();
  expect(lease.isValid()).toBe(true);
  await vi.waitFor(() => expect(lease.signal.aborted).toBe(true), 2_000);
  expect(lease.isValid()).toBe(false);
});

it("I8: a clock that jumped past the deadline ends the right before any timer runs", () => {
  const { hold, jump } = keeper(away);
  const lease = hold();
  jump(301);
  expect(lease.isValid()).toBe(false);
});

it("renews all leases in one call, and keeps them as long as that works", async () => {
  const renewed: number[] = [];
  const { hold, clock } = keeper((held, leaseMs) => {
    renewed.push(held.length);
    return Promise.resolve({ validUntilMs: clock.monotonicMs() + leaseMs, stale: [] });
  });
  const held = [hold(), hold(), hold()];
  await vi.waitFor(() => expect(renewed.length).toBeGreaterThanOrEqual(5), 3_000);
  expect(held.every((lease) => lease.isValid())).toBe(true);
  expect(new Set(renewed)).toEqual(new Set([3]));
  held[0]?.end();
  await vi.waitFor(() => expect(renewed.at(-1)).toBe(2), 2_000);
  expect(held[0]?.signal.aborted).toBe(false);
});

it("a mail is given back only once, even if its lease was lost before", () => {
  const { hold } = keeper(away);
  const [kept, lost] = [hold(), hold()];
  lost.lose();
  for (const lease of [kept, lost]) {
    lease.settle();
    expect(() => lease.settle()).toThrow(/is settling, it cannot become settling/);
    lease.end();
    lease.end();
    expect(() => lease.settle()).toThrow(/is ended, it cannot become settling/);
    expect(lease.isValid()).toBe(false);
  }
});

it("I3: a lease that belongs to another by now is lost immediately", async () => {
  let first = "";
  const { hold, clock } = keeper((_held, leaseMs) =>
    Promise.resolve({ validUntilMs: clock.monotonicMs() + leaseMs, stale: [first] }),
  );
  const [lost, kept] = [hold(), hold()];
  first = lost.holding.mailId;
  await vi.waitFor(() => expect(lost.signal.aborted).toBe(true), 2_000);
  expect(kept.isValid()).toBe(true);
});

it("does not report a renewal that crosses the write that gives the lease back", async () => {
  const renewal = Promise.withResolvers<undefined>();
  const asked = Promise.withResolvers<undefined>();
  const { hold, clock, log, logged } = keeper(async (held) => {
    asked.resolve(undefined);
    await renewal.promise;
    const stale = held.map(({ mailId }) => mailId);
    return { validUntilMs: clock.monotonicMs() + 60_000, stale };
  }, 60_000 / 20);
  const [given, lost] = [hold(), hold()];
  await asked.promise;
  const write = async () => {
    renewal.resolve(undefined);
    await vi.waitFor(() => expect(lost.signal.aborted).toBe(true));
    return "written" as const;
  };
  const counts = createCounts();
  const closing = new AbortController().signal;
  await writeAndEnd({ database: { mails: { write } }, log, closing, counts }, given, { set: {} });
  expect(given.signal.aborted).toBe(false);
  expect(logged).toEqual([expect.stringContaining(lost.holding.mailId)]);
});

it("a late renewal brings back nothing that has ended", async () => {
  const renewal = Promise.withResolvers<{ validUntilMs: number; stale: string[] }>();
  const { hold, clock } = keeper(() => renewal.promise);
  const lease = hold();
  await vi.waitFor(() => expect(lease.signal.aborted).toBe(true), 2_000);
  renewal.resolve({ validUntilMs: clock.monotonicMs() + 10_000, stale: [] });
  await pause(0);
  expect(lease.isValid()).toBe(false);
});
