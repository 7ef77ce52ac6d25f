import { once } from "node:events";
import { randomUUID } from "node:crypto";
import { expect, it, vi } from "vitest";
import type { Moment } from "@rs-agent/kit/smtp/maildir-server.ts";
import type { Answer } from "@rs-agent/kit/smtp/smtp-sink.ts";
import { mailIn, readyMail, routeTo } from "./ready-mail.ts";
import { relayProcess, shortTimeouts } from "./relay-process.ts";
import { ownDatabase, runningRelay, runningSink } from "./running-relay.ts";
import { scriptedHop } from "./scripted-hop.ts";
import { machineMs } from "../../../test/support/machine.ts";

async function installation() {
  const db = `relay-${randomUUID()}`;
  return { db, database: await ownDatabase(db) };
}

/** Does this to the first mail only. */
function onlyOnce(answer: (moment: Moment) => Answer | Promise<Answer>) {
  let done = false;
  return (moment: Moment) => {
    if (done) return undefined;
    const said = answer(moment);
    if (said !== undefined) done = true;
    return said;
  };
}

it("I8: a connection dropped after the final dot leaves the mark, and the mail is sent again when the time is over", async () => {
  const { db, database } = await installation();
  const sink = await runningSink({
    answer: onlyOnce(({ step }) => (step === "mail" ? "drop" : undefined)),
  });
  const id = await readyMail(database, { route: routeTo(sink.port) });
  const { counts } = await runningRelay(db, shortTimeouts);
  const waiting = await vi.waitFor(async () => {
    const mail = await mailIn(database, id, "relaying");
    expect(mail.unknown?.resolveAt).toBeDefined();
    return mail;
  });
  const lostAtMs = performance.now();
  expect(waiting.unknown).toMatchObject({ attempt: 1, recipients: ["b@rcpt.example"] });
  expect(waiting.reason).toMatch(/^outcome unknown/);
  expect(waiting.lease).toBeUndefined();
  const mail = await vi.waitFor(() => mailIn(database, id, "sent"));
  expect(performance.now() - lostAtMs).toBeGreaterThan(1_000);
  expect(sink.delivered).toBe(2);
  expect(counts).toMatchObject({ unknown: 1, resentMails: 1, sent: 1 });
  expect(mail.unknown).toBeUndefined();
  expect(mail.history.map(({ event }) => event)).toContain("sent again");
});

it("I8: a mail whose outcome is unknown is held for a person if its policy says so", async () => {
  const { db, database } = await installation();
  const sink = await runningSink({
    answer: onlyOnce(({ step }) => (step === "mail" ? "drop" : undefined)),
  });
  const id = await readyMail(database, { route: routeTo(sink.port), relay: { onUnknown: "hold" } });
  await runningRelay(db, shortTimeouts);
  const mail = await vi.waitFor(() => mailIn(database, id, "held"));
  expect(mail.reason).toMatch(/^outcome unknown/);
  expect(mail.unknown?.recipients).toEqual(["b@rcpt.example"]);
  expect(mail.recipients[0]?.outcome).toBe("open");
});

it("I8: a connection dropped before the body's first byte clears the mark: a plain retry", async () => {
  const { db, database } = await installation();
  const sink = await runningSink({
    answer: onlyOnce(({ step }) => (step === "recipient" ? "drop" : undefined)),
  });
  const id = await readyMail(database, { route: routeTo(sink.port) });
  const { counts } = await runningRelay(db);
  const mail = await vi.waitFor(() => mailIn(database, id, "sent"));
  expect(mail.recipients[0]?.attempts).toBe(2);
  expect(counts).toMatchObject({ deferred: 1, unknown: 0, resentMails: 0 });
  expect(sink.delivered).toBe(1);
});

it("I8: a hop that never answers the final dot is given up after its time, outcome unknown", async () => {
  const { db, database } = await installation();
  const { promise: never } = Promise.withResolvers<undefined>();
  const sink = await runningSink({
    answer: onlyOnce(({ step }) => (step === "mail" ? never : undefined)),
  });
  const id = await readyMail(database, { route: routeTo(sink.port), relay: { onUnknown: "hold" } });
  await runningRelay(db, shortTimeouts);
  const mail = await vi.waitFor(() => mailIn(database, id, "held"));
  expect(mail.reason).toMatch(/no answer to the end of the mail within [\d.]+ s$/);
});

it("I8: kill -9 between mark and reply: another relay resolves it by the policy after lease and longest time-out", async () => {
  const { db, database } = await installation();
  const arrived = Promise.withResolvers<undefined>();
  const { promise: never } = Promise.withResolvers<undefined>();
  const sink = await runningSink({
    answer: onlyOnce(({ step }) => {
      if (step !== "mail") return undefined;
      arrived.resolve(undefined);
      return never;
    }),
  });
  const route = routeTo(sink.port);
  const id = await readyMail(database, { route });
  const victim = relayProcess(db, { ...shortTimeouts, RELAY_LEASE_MS: machineMs(1_000) });
  await arrived.promise;
  victim.kill("SIGKILL");
  await once(victim, "exit");
  const killedAtMs = performance.now();

  const left = await mailIn(database, id, "relaying");
  expect(left.unknown).toMatchObject({ attempt: 1, recipients: ["b@rcpt.example"] });
  expect(left.unknown?.resolveAt).toBeUndefined();
  const { counts } = await runningRelay(db, { ...shortTimeouts, RELAY_LEASE_MS: machineMs(1_000) });
  await vi.waitFor(() => mailIn(database, id, "sent"));
  // Not before the dead relay's lease is over and the hop has had its longest time-out.
  expect(performance.now() - killedAtMs).toBeGreaterThan(1_200);
  expect(sink.delivered).toBe(2);
  expect(counts).toMatchObject({ resentMails: 1, sent: 1 });
});

it("I8: a relay that is killed before it could mark anything costs its mail only the time of the lease", async () => {
  const { db, database } = await installation();
  const asked = Promise.withResolvers<undefined>();
  const { promise: never } = Promise.withResolvers<undefined>();
  const sink = await runningSink({
    answer: onlyOnce(({ step }) => {
      if (step !== "connect") return undefined;
      asked.resolve(undefined);
      return never;
    }),
  });
  const id = await readyMail(database, { route: routeTo(sink.port) });
  const victim = relayProcess(db, { RELAY_LEASE_MS: machineMs(800) });
  await asked.promise;
  victim.kill("SIGKILL");
  await once(victim, "exit");
  expect((await database.mails.get(id))?.unknown).toBeUndefined();
  const { counts } = await runningRelay(db);
  await vi.waitFor(() => mailIn(database, id, "sent"));
  expect(sink.delivered).toBe(1);
  expect(counts.resentMails).toBe(0);
});

it("I8: a relay that was stopped past its lease sends not one byte of the body when it goes on", async () => {
  const { db, database } = await installation();
  const asked = Promise.withResolvers<undefined>();
  const hop = await scriptedHop({
    answer: (verb, nth) => {
      if (verb !== "DATA" || nth > 1) return undefined;
      asked.resolve(undefined);
      return { say: "" };
    },
  });
  const route = routeTo(hop.port);
  const id = await readyMail(database, { route });
  const paused = relayProcess(db, { RELAY_LEASE_MS: machineMs(700), LOG_LEVEL: "silent" });
  await asked.promise;
  const [firstSession] = hop.sockets;
  paused.kill("SIGSTOP");
  const { counts } = await runningRelay(db, { ...shortTimeouts, RELAY_LEASE_MS: machineMs(700) });
  await vi.waitFor(() => mailIn(database, id, "sent"));
  expect(counts.resentMails).toBe(1);
  firstSession?.write("354 go on\r\n");
  paused.kill("SIGCONT");
  await vi.waitFor(() => expect(hop.sockets.has(firstSession as never)).toBe(false));
  // Only one end of a mail: the second relay's.
  expect(hop.lines.filter((line) => line === ".")).toHaveLength(1);
  paused.kill("SIGTERM");
  await once(paused, "exit");
});
