import { randomUUID } from "node:crypto";
import { expect, it, vi } from "vitest";
import { Metrics } from "@rs-agent/shared/health/metrics.ts";
import { mailIn, readyMail, routeTo } from "./ready-mail.ts";
import { ownDatabase, runningRelay, runningSink } from "./running-relay.ts";

it("counts the outcome of each recipient, and shows routes that fail", async () => {
  const db = `relay-${randomUUID()}`;
  const database = await ownDatabase(db);
  const sink = await runningSink();
  const to = ["b@rcpt.example", "c@rcpt.example"];
  const metrics = new Metrics();
  const has = async (line: string) => (await metrics.text()).split("\n").includes(line);
  const sent = await readyMail(database, { route: routeTo(sink.port), to });
  await runningRelay(db, {}, undefined, metrics);
  await vi.waitFor(() => mailIn(database, sent, "sent"));
  await vi.waitFor(async () => {
    expect(await has('rs_agent_relay_recipients_total{outcome="sent"} 2')).toBe(true);
    expect(await has("rs_agent_held_mails 0")).toBe(true);
  });
  expect(await has('rs_agent_relay_recipients_total{outcome="bounced"} 0')).toBe(true);
  expect(await has("rs_agent_relay_failed_routes 0")).toBe(true);
  // Nobody listens there.
  await readyMail(database, { route: routeTo(1) });
  await vi.waitFor(
    async () => expect(await has("rs_agent_relay_failed_routes 1")).toBe(true),
    20_000,
  );
});
