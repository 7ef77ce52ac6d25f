import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { startClamd, type RunningClamd } from "@rs-agent/kit/engines/clamd.ts";
import { canaryMail } from "../src/canary-mails.ts";
import { reload } from "../src/clamd/command.ts";
import { parseClamdAddress } from "../src/clamd/address.ts";
import type { ClamdPool, ClamdPoolOptions } from "../src/clamd/engine.ts";
import { createPool, scan } from "./clamd-pool.ts";
import { matching } from "./matching.ts";
import { startFakeClamd } from "./fake-clamd.ts";
import { untilTestEnds } from "../../../test/support/until-test-ends.ts";

const never = new AbortController().signal;
const quick: ClamdPoolOptions = { quietMs: 100, pongMs: 400 };

async function checkedPool(addresses: string[], options = quick): Promise<ClamdPool> {
  const pool = untilTestEnds(createPool(addresses, options));
  await pool.check(never);
  expect(pool.grant()).toBe(8 * addresses.length);
  return pool;
}

async function fakeClamd(options: Parameters<typeof startFakeClamd>[0] = {}) {
  const fake = untilTestEnds(await startFakeClamd(options));
  return fake;
}

async function realClamd(
  settings: Record<string, string>,
): Promise<RunningClamd & { dir: string }> {
  const dir = await mkdtemp(join(tmpdir(), "rs-agent-clamd-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  const clamd = untilTestEnds(await startClamd({ dir, settings }));
  return { ...clamd, dir };
}

const scanKind = (pool: ClamdPool, kind: "clean" | "eicar", nonce: string) =>
  scan(pool, canaryMail(kind, nonce));

/** The scans under way when clamd falls silent: as many as it was given. */
function scansUnderWay(pool: ClamdPool) {
  const kinds = ["clean", "eicar"] as const;
  return Array.from({ length: 8 }, (_, i) => scanKind(pool, kinds[i % 2] ?? "clean", `way-${i}`));
}

async function expectAllAnswered(scans: ReturnType<typeof scansUnderWay>): Promise<void> {
  const found = (await Promise.all(scans)).map(({ finding }) => finding.kind);
  expect(found).toEqual(scans.map((_, i) => (i % 2 === 0 ? "clean" : "infected")));
}

const silent = matching(/did not answer PING within \d+ ms: it hangs, or loads its signatures/);

describe("a clamd that no longer answers", () => {
  it("gets no work once a PONG is missing, and answers what it has when it is back", async () => {
    const fake = await fakeClamd();
    const pool = await checkedPool([fake.address]);
    fake.freeze();
    const scans = scansUnderWay(pool);
    await vi.waitFor(() => expect(pool.grant()).toBe(0));
    expect(pool.reasons()).toEqual(silent);
    fake.thaw();
    await expectAllAnswered(scans);
    await vi.waitFor(() => expect(pool.grant()).toBe(8));
    expect(pool.reasons()).toBe("");
  });

  it("leaves a task that comes meanwhile unchecked: engine-away, with the reason, never clean (I2)", async () => {
    const fake = await fakeClamd();
    const pool = await checkedPool([fake.address], { ...quick, recoveryWaitMs: 100 });
    fake.freeze();
    const scans = scansUnderWay(pool);
    await vi.waitFor(() => expect(pool.grant()).toBe(0));
    const { finding } = await scanKind(pool, "clean", "late");
    expect(finding).toMatchObject({ kind: "unchecked", reason: "engine-away" });
    expect(finding).toHaveProperty("detail", matching(/PING/));
    fake.thaw();
    await expectAllAnswered(scans);
  });

  it("is not one that only takes long over a mail and answers PING", async () => {
    let asked = 0;
    const held = Promise.withResolvers<undefined>();
    const fake = await fakeClamd({
      fault: ({ content }) => (content.includes("way-") ? { silence: true } : undefined),
    });
    const pool = await checkedPool([fake.address]);
    const before = fake.connections;
    const bytes = canaryMail("clean", "way-long");
    const long = scan(pool, bytes, { timeoutMs: 1_500 }).finally(() => held.resolve(undefined));
    const look = setInterval(() => {
      if (pool.grant() === 8) asked++;
    });
    await held.promise;
    clearInterval(look);
    expect((await long).finding).toMatchObject({ kind: "unchecked", reason: "time-out" });
    // It was asked for a PONG again and again, and kept its work.
    expect(fake.connections - before).toBeGreaterThan(3);
    expect(asked).toBeGreaterThan(10);
  });

  it("leaves the work to another that answers", async () => {
    const one = await fakeClamd();
    const two = await fakeClamd();
    const pool = await checkedPool([one.address, two.address]);
    one.freeze();
    const scans = scansUnderWay(pool);
    await vi.waitFor(() => expect(pool.grant()).toBe(8));
    const later = await Promise.all([1, 2, 3].map((i) => scanKind(pool, "clean", `later-${i}`)));
    expect(later.map(({ address }) => address)).toEqual([1, 2, 3].map(() => two.address));
    one.thaw();
    await expectAllAnswered(scans);
  });
});

describe("a real clamd", () => {
  it("that is stopped gets no more work within seconds, and goes on with what it had", async () => {
    const clamd = await realClamd({});
    const pool = await checkedPool([clamd.address], {});
    process.kill(clamd.pid, "SIGSTOP");
    onTestFinished(() => void process.kill(clamd.pid, "SIGCONT"));
    const stoppedAtMs = performance.now();
    const scans = scansUnderWay(pool);
    await vi.waitFor(() => expect(pool.grant()).toBe(0));
    // Three seconds of quiet, and five for a PONG.
    expect(performance.now() - stoppedAtMs).toBeGreaterThan(7_500);
    expect(pool.reasons()).toEqual(silent);
    process.kill(clamd.pid, "SIGCONT");
    await expectAllAnswered(scans);
    await vi.waitFor(() => expect(pool.grant()).toBe(8));
  });

  it("with ConcurrentDatabaseReload no takes nothing while it loads, and no scan is lost or clean by it", async () => {
    // Before it loads, it waits until its idle threads have ended: at least this long.
    const clamd = await realClamd({ ConcurrentDatabaseReload: "no", IdleTimeout: "4" });
    const pool = await checkedPool([clamd.address]);
    await reload(parseClamdAddress(clamd.address), never);
    const scans = scansUnderWay(pool);
    await vi.waitFor(() => expect(pool.grant()).toBe(0));
    expect(pool.reasons()).toEqual(silent);
    await expectAllAnswered(scans);
    await vi.waitFor(() => expect(pool.grant()).toBe(8));
  });

  it("with ConcurrentDatabaseReload yes goes on scanning while it loads", async () => {
    const clamd = await realClamd({});
    const pool = await checkedPool([clamd.address], {});
    await writeFile(join(clamd.dir, "signatures", "many.ndb"), manySignatures(60_000));
    await reload(parseClamdAddress(clamd.address), never);
    await vi.waitFor(async () => {
      await expectAllAnswered(scansUnderWay(pool));
      expect(pool.grant()).toBe(8);
      const log = await readFile(clamd.logFile, "utf8");
      expect(log).toContain("Database correctly reloaded (6000");
    });
  });

  it("that others keep at its MaxQueue says nothing, and gets no work until it answers again", async () => {
    const clamd = await realClamd({ MaxQueue: "3", MaxThreads: "1" });
    const pool = await checkedPool([clamd.address]);
    const others = Array.from({ length: 12 }, () => createConnection(clamd.port, "127.0.0.1"));
    onTestFinished(() => others.forEach((other) => other.destroy()));
    await Promise.all(others.map((other) => once(other, "connect")));
    const scans = scansUnderWay(pool);
    await vi.waitFor(() => expect(pool.grant()).toBe(0));
    for (const other of others) other.destroy();
    await expectAllAnswered(scans);
    await vi.waitFor(() => expect(pool.grant()).toBe(8));
  });
});

/** Enough that loading takes a while. */
function manySignatures(count: number): string {
  const hex = (number: number, digits: number) => number.toString(16).padStart(digits, "0");
  const lines = Array.from(
    { length: count },
    (_, i) => `Junk.${i}:0:*:${hex(i, 8)}deadbeef${hex(i * 7_919, 12)}\n`,
  );
  return lines.join("");
}
