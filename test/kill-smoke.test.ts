import { randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createTransport } from "nodemailer";
import { systemClock } from "@rs-agent/shared/clock.ts";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import { parsePolicyYaml } from "@rs-agent/shared/policy/yaml.ts";
import { openDatabase } from "@rs-agent/shared/store/database.ts";
import { expect, inject, it, onTestFinished, vi } from "vitest";
import { startMaildirServer } from "@rs-agent/kit/smtp/maildir-server.ts";
import type { ServiceName } from "@rs-agent/kit/system/service-names.ts";
import { startSystem, type RunningSystem } from "@rs-agent/kit/system/system.ts";
import { mongodbUri } from "./support/test-mongodb.ts";
import { machineMs } from "./support/machine.ts";

const mails = 200;
/** Every service dies, those that hold leases most often. */
const victims: readonly ServiceName[] = [
  "dispatcher",
  "relay",
  "av-worker",
  "ingest",
  "enricher",
  "spam-worker",
  "relay",
  "dispatcher",
  "av-worker",
  "ingest",
];
/** Spam is checked for one domain only, because spamd is slow; every other part is killed too. */
const policy = `
default:
  spam: off
tenants:
  acme:
    domains: [acme.example, checked.acme.example]
domains:
  checked.acme.example:
    spam: on
`;

/**
 * Leases and time-outs so short that the test need not wait minutes for what a killed process held.
 */
const shortTimes = {
  LEASE_MS: machineMs(5_000),
  RELAY_LEASE_MS: machineMs(3_000),
  RELAY_TIMEOUT_CONNECT_MS: "3000",
  RELAY_TIMEOUT_GREETING_MS: "3000",
  RELAY_TIMEOUT_MAIL_MS: "3000",
  RELAY_TIMEOUT_RCPT_MS: "3000",
  RELAY_TIMEOUT_DATA_MS: "3000",
  RELAY_TIMEOUT_BLOCK_MS: "3000",
  RELAY_TIMEOUT_FINAL_MS: "3000",
};

function recipientsOf(number: number): string[] {
  const own = `user${String(number)}@acme.example`;
  if (number % 10 === 0) return [own, `user${String(number)}@checked.acme.example`];
  return number % 4 === 0 ? [own, `other${String(number)}@acme.example`] : [own];
}

/** Sends mail `number` until it is accepted, like an SMTP client with a queue. */
async function submit(smtp: string, number: number): Promise<void> {
  const [host, port] = smtp.split(":");
  for (;;) {
    const transport = createTransport({ host, port: Number(port), ignoreTLS: true });
    try {
      await transport.sendMail({
        envelope: { from: "sender@stranger.example", to: recipientsOf(number) },
        raw: `From: sender@stranger.example\r\nSubject: mail ${String(number)}\r\nX-Number: ${String(number)}\r\n\r\n${randomBytes(
          1500,
        )
          .toString("hex")
          .replace(/(.{70})/g, "$1\r\n")}\r\n`,
      });
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 100));
    } finally {
      transport.close();
    }
  }
}

async function killOneByOne(system: RunningSystem, accepted: () => number): Promise<number> {
  let killed = 0;
  for (const [place, victim] of victims.entries()) {
    const due = Math.floor((place * mails) / victims.length);
    await vi.waitFor(() => expect(accepted()).toBeGreaterThanOrEqual(due), 60_000);
    await system.untilReady();
    if (system.kill(victim) !== undefined) killed += 1;
  }
  return killed;
}

/** A next hop that records which recipient got which mail: `number address` → copies. */
async function openNextHop(dir: string) {
  const copies = new Map<string, number>();
  const server = await startMaildirServer({
    dir,
    answer: async (moment) => {
      if (moment.step !== "mail") return undefined;
      const text = await readFile(moment.mail.file, "latin1");
      const number = /^X-Number: (\d+)\r$/m.exec(text)?.[1] ?? "unknown";
      for (const address of moment.mail.rcptTo) {
        const key = `${number} ${address}`;
        copies.set(key, (copies.get(key) ?? 0) + 1);
      }
      return undefined;
    },
  });
  return { server, copies };
}

it("I1: loses no recipient of 200 mails while each service is killed, ten times in all", async () => {
  const runDir = await mkdtemp(join(tmpdir(), "rs-agent-kill-"));
  onTestFinished(() => rm(runDir, { recursive: true, force: true }));
  const db = `kill_${randomBytes(4).toString("hex")}`;
  const uri = mongodbUri();
  const database = await openDatabase({ uri, db, clock: systemClock, log: createSilentLogger() });
  onTestFinished(() => database.close());
  await database.policies.replace(parsePolicyYaml(policy, "kill-smoke.yaml"));
  const { server: nextHop, copies } = await openNextHop(join(runDir, "next-hop"));
  onTestFinished(() => nextHop.stop());
  const system = await startSystem({
    runDir,
    nextHop: `127.0.0.1:${String(nextHop.port)}`,
    mongodb: uri,
    db,
    clamd: inject("clamd"),
    spamd: inject("spamd"),
    env: shortTimes,
  });
  onTestFinished(() => system.stop());

  let accepted = 0;
  const numbers = Array.from({ length: mails }, (_, number) => number);
  const client = async () => {
    for (let number = numbers.shift(); number !== undefined; number = numbers.shift()) {
      await submit(system.smtp, number);
      accepted += 1;
    }
  };
  const [killed] = await Promise.all([
    killOneByOne(system, () => accepted),
    ...Array.from({ length: 4 }, client),
  ]);
  expect(killed).toBe(victims.length);
  expect(accepted).toBe(mails);

  await vi.waitFor(async () => expect(await database.mails.waiting()).toEqual([]));
  const counted = await database.mails.countOutcomes();
  expect(counted).toMatchObject({ holds: true, open: 0, dead: 0, bounced: 0, quarantined: 0 });
  expect(counted.sent).toBe(counted.accepted);
  // A client that got no 250 sends again, so each recipient counts at least once.
  const expected = Array.from({ length: mails }, (_, number) => recipientsOf(number).length);
  expect(counted.sent).toBeGreaterThanOrEqual(expected.reduce((sum, each) => sum + each, 0));

  const missing = Array.from({ length: mails }, (_, number) =>
    recipientsOf(number).map((address) => `${String(number)} ${address}`),
  )
    .flat()
    .filter((key) => !copies.has(key));
  expect(missing).toEqual([]);
});
