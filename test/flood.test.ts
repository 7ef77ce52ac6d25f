import { setTimeout } from "node:timers/promises";
import { describe, expect, it, onTestFinished } from "vitest";
import { freePort } from "@rs-agent/kit/free-port.ts";
import { openFloodDatabase } from "../flood/src/database.ts";
import { runFlood } from "../flood/src/flood.ts";
import type { FloodResult } from "../flood/src/result.ts";
import { floodOptions, type FloodArguments } from "../flood/src/options.ts";
import { useWholeSystem } from "./support/use-system.ts";

/** The port where the relay finds the sink when a flood opens it. */
const sinkPort = await freePort();

describe("rs-agent flood against a whole system", () => {
  const whole = useWholeSystem({
    // The sink is there only during a flood, so the relay must not give up its route for long.
    policy: `
tenants:
  flooded:
    domains: [north.flood.example, south.flood.example]
    rules: { incoming: { route: { nextHop: "127.0.0.1:${String(sinkPort)}" }, relay: { retry: [1s] } } }
domains:
  south.flood.example: { spam: { onSpam: tag, onHighSpam: tag } }
`,
  });

  const flood = (given: FloodArguments): Promise<FloodResult> => {
    const { system, database } = whole();
    const { uri, db } = system.mongodb;
    expect(database.server).not.toBe("");
    const options = floodOptions(
      { tenants: "north.flood.example,south.flood.example", size: "1k-4k", seed: "3", ...given },
      { smtp: system.smtp, database: { uri, db }, processes: [] },
    );
    return runFlood(options, {
      signal: new AbortController().signal,
      onSecond: () => undefined,
      say: () => undefined,
    });
  };

  it("sends 60 mails by SMTP and finds each recipient where its policy wants it", async () => {
    const result = await flood({
      ...{ rate: "10", mails: "60", recipients: "1-2", sink: `127.0.0.1:${String(sinkPort)}` },
      ...{ mix: "clean:50,spam:5,virus:4,big:1", bigSize: "300k", check: true, wait: "60s" },
    });
    expect(result.check).toMatchObject({ holds: true, findings: {}, unheard: 0 });
    expect(result.handedIn).toMatchObject({ offered: 60, accepted: 60 });
    expect(result.kinds).toEqual({ clean: 50, spam: 5, virus: 4, big: 1 });
    expect(result.sink).toMatchObject({ expected: 51, delivered: 51, duplicates: 0 });
    expect(result.check?.ends["quarantined"]).toBeGreaterThanOrEqual(4);
    expect(result.endToEnd).toMatchObject({ by: "sink", count: 51 });
    expect(result.steps?.times.map(({ step }) => step)).toEqual([
      "virus",
      "spam",
      "enrich",
      "relay",
    ]);
    expect(result.accept.p50Ms).toBeLessThan(result.endToEnd?.p50Ms ?? 0);
  });

  it("sends straight into MongoDB, and the check finds what is taken away behind its back", async () => {
    const { system, db } = whole();
    const { uri, db: name } = system.mongodb;
    const database = await openFloodDatabase({ uri, db: name });
    onTestFinished(() => database.close());
    const sink = `127.0.0.1:${String(sinkPort)}`;
    const given = { to: "mongo", rate: "20", mails: "20", mix: "clean", sink, check: true };
    expect((await flood(given)).check).toMatchObject({ holds: true, recipients: 20 });

    // A record that vanishes is a lost mail.
    const mails = db.collection("mails");
    const isOfRun = { "origin.name": "flood", state: { $in: ["incoming", "processing", "ready"] } };
    const ended = new AbortController();
    const robOne = async () => {
      while (!ended.signal.aborted && (await mails.deleteOne(isOfRun)).deletedCount === 0)
        await setTimeout(5);
    };
    const [robbed] = await Promise.all([
      flood({ ...given, rate: "50", mails: "30", wait: "8s" }).finally(() => ended.abort()),
      robOne(),
    ]);
    expect(robbed.check).toMatchObject({ holds: false, findings: { lost: 1 } });
  });
});
