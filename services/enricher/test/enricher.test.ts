import { describe, expect, it, vi } from "vitest";
import { createBusProtection } from "@rs-agent/shared/bus/protection.ts";
import { startWorkerPool, type TaskResult } from "@rs-agent/shared/bus/worker-pool.ts";
import { systemClock } from "@rs-agent/shared/clock.ts";
import { loadConfig } from "@rs-agent/shared/config.ts";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import { enricherConfigSchema } from "../src/config.ts";
import { startEnricher } from "../src/enricher.ts";
import { plainMail, taskFor } from "./mail-to-enrich.ts";
import { untilTestEnds } from "../../../test/support/until-test-ends.ts";

const log = createSilentLogger();

describe("startEnricher", () => {
  it("takes a task from the bus and sends back the new header, down to where it is the same", async () => {
    const results: TaskResult[] = [];
    const pool = untilTestEnds(
      await startWorkerPool({
        bind: "tcp://127.0.0.1:*",
        actorId: "dispatcher",
        protection: createBusProtection(undefined),
        clock: systemClock,
        log,
        onResult: (result) => results.push(result),
        onLost: () => undefined,
      }),
    );
    const env = { BUS_DISPATCHERS: pool.endpoint, ACTOR_ID: "enricher", ENRICH_AUTHSERV_ID: "mx" };
    const config = loadConfig(enricherConfigSchema, env);
    const enricher = untilTestEnds(await startEnricher({ config, clock: systemClock, log }));
    await enricher.ready;
    await vi.waitFor(() => expect(pool.free("enrich").tasks).toBeGreaterThan(0));

    const { mailId, attempt, sha256, size, settings, settingsHash, deadlineMs, smtp, verdicts } =
      taskFor(plainMail, [{ kind: "geoip" }]);
    const task = {
      mailId,
      attempt,
      sha256,
      size,
      settings,
      settingsHash,
      deadlineMs,
      smtp,
      verdicts,
    };
    expect(pool.place("enrich", task, plainMail)).toBeDefined();
    await vi.waitFor(() => expect(results).toHaveLength(1));
    expect(results[0]?.head.output).toMatchObject({ kind: "enriched", bodyChanged: false });
    expect(results[0]?.bytes?.toString()).toBe("X-Relay-Countries: US\r\n");
  });
});
