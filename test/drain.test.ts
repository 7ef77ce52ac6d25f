import { once } from "node:events";
import { serviceNames, type ServiceName } from "@rs-agent/kit/system/service-names.ts";
import type { ProcessEnd } from "@rs-agent/kit/processes/service-process.ts";
import { describe, expect, it, vi } from "vitest";
import { people } from "../start/samples/samples.ts";
import { handIn, textMail } from "./support/smtp-client.ts";
import { stuckServices } from "./support/stuck-services.ts";
import { useWholeSystem } from "./support/use-system.ts";
import { mailIdIn, type WholeSystem } from "./support/whole-system.ts";

const drainMs = 20_000;

describe("SIGTERM under load", () => {
  const ends: ProcessEnd[] = [];
  const whole = useWholeSystem({
    counts: Object.fromEntries(serviceNames.map((name) => [name, 2])),
    policy: `addresses: { "${people.anna}": { spam: off } }`,
    // What is not handed back waits for its lease, which is longer than a test waits.
    env: {
      DRAIN_MS: String(drainMs),
      LEASE_MS: "300000",
      RELAY_LEASE_MS: "300000",
      SPAM_CHILDREN: "1",
    },
    onEnd: (end) => ends.push(end),
  });

  it.each(serviceNames)(
    "I1: %s finishes what is in flight or hands it back, exits 0 in time, and no mail waits or comes twice",
    async (name) => {
      const { system, database, db } = whole();
      const load = startLoad(whole());
      await vi.waitFor(() => expect(load.accepted.length).toBeGreaterThan(15));
      const before = load.accepted.length;
      const pid = system.kill(name, "SIGTERM");
      const end = await vi.waitFor(() => {
        const found = ends.find((one) => one.pid === pid);
        if (found === undefined) throw new Error(`${name} still runs`);
        return found;
      });
      // 75 is the exit code when DRAIN_MS is over.
      expect(end).toMatchObject({ exitCode: 0, signal: undefined, wasReady: true });
      const held = { "lease.owner": new RegExp(`^${name}-.*-${String(pid)}$`) };
      expect(await db.collection("mails").find(held).toArray()).toEqual([]);
      await vi.waitFor(() => expect(load.accepted.length).toBeGreaterThan(before + 10));
      await load.stop();
      const mails = (await Promise.all(load.accepted.map((id) => whole().ended(id)))).flat();
      expect(mails.map(({ state }) => state)).toEqual(mails.map(() => "sent"));
      expect(mails.filter(({ strikes, unknown }) => strikes ?? unknown)).toEqual([]);
      const copies = (await whole().relayed()).map(({ bytes }) => mailIdIn(bytes));
      expect(load.accepted.filter((id) => copies.filter((one) => one === id).length !== 1)).toEqual(
        [],
      );
      const counted = await database.mails.countOutcomes();
      expect(counted).toMatchObject({ sent: counted.accepted, open: 0, holds: true });
      expect(copies).toHaveLength(counted.accepted);
      await system.untilReady();
    },
  );
});

/** Clients that hand in one mail after another, every fifth to a recipient with a spam check. */
function startLoad({ system }: WholeSystem) {
  const accepted: string[] = [];
  let isOver = false;
  let count = 0;
  const client = async () => {
    while (!isOver) {
      count += 1;
      const rcptTo = [count % 5 === 0 ? people.ben : people.anna];
      const reply = await handIn(system.smtp, { rcptTo, raw: textMail(`load ${count}`) });
      const id = /^250 .*queued as (\S+)/.exec(reply)?.[1];
      if (id !== undefined) accepted.push(id);
      // A client with a queue: it tries again after a while, and leaves the machine to others.
      await new Promise((resolve) => setTimeout(resolve, id === undefined ? 200 : 60));
    }
  };
  const clients = Promise.all(Array.from({ length: 4 }, client));
  return {
    accepted,
    async stop() {
      isOver = true;
      await clients;
    },
  };
}

describe.each(serviceNames)("%s with work that does not end", (name: ServiceName) => {
  it("exits 75 when DRAIN_MS is over", async () => {
    const stuck = await stuckServices[name]({ DRAIN_MS: "1500" });
    const exited = once(stuck.child, "exit");
    const signalledAtMs = performance.now();
    stuck.child.kill("SIGTERM");
    expect(await exited).toEqual([75, null]);
    const tookMs = performance.now() - signalledAtMs;
    expect(tookMs).toBeGreaterThan(1_400);
    expect(tookMs).toBeLessThan(20_000);
    await stuck.expectHandedBack();
  });

  it("exits 75 immediately on a second SIGTERM", async () => {
    const stuck = await stuckServices[name]({ DRAIN_MS: "80000" });
    const exited = once(stuck.child, "exit");
    stuck.child.kill("SIGTERM");
    await stuck.untilDraining();
    expect(stuck.child.exitCode).toBeNull();
    const signalledAtMs = performance.now();
    stuck.child.kill("SIGTERM");
    expect(await exited).toEqual([75, null]);
    expect(performance.now() - signalledAtMs).toBeLessThan(20_000);
    await stuck.expectHandedBack();
  });
});
