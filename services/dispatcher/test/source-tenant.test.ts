import { MongoClient } from "mongodb";
import { createSilentLogger, type Logger } from "@rs-agent/shared/logger.ts";
import { mailIdOf } from "@rs-agent/shared/store/adoption.ts";
import { expect, it, onTestFinished, vi } from "vitest";
import { openBench, tenant } from "./in-process.ts";

it("records of a source wait there until a policy has its tenant, and then become that tenant's outgoing mail", async () => {
  const bench = await openBench();
  const client = new MongoClient(bench.settings.MONGODB_URI ?? "");
  onTestFinished(() => client.close());
  const source = { name: "portal", form: "native", mode: "deliver", db: bench.db };
  const its = { ...source, collection: "outbox", outgoing: true, tenant: "shop" };
  const errors: unknown[] = [];
  const log: Logger = Object.assign(createSilentLogger(), {
    error: (told: unknown) => void errors.push(told),
  });
  await bench.dispatcher({ SOURCES: JSON.stringify([its]) }, { log });
  const inserted = await client
    .db(bench.db)
    .collection("outbox")
    .insertOne({
      state: "incoming",
      smtp: { mailFrom: "shop@shop.example", rcptTo: ["ann@elsewhere.example"] },
      body: Buffer.from("From: shop@shop.example\r\n\r\nx\r\n"),
    });
  const id = mailIdOf(source, inserted.insertedId);
  await vi.waitFor(() => expect(errors).toEqual([{ source: "portal", tenant: "shop" }]));
  expect(await bench.database.mails.get(id)).toBeUndefined();

  await bench.policy(`${tenant}  shop:\n    domains: [shop.example]\n`);
  await vi.waitFor(async () => {
    const { plan } = await bench.get(id);
    expect(plan).toMatchObject({ direction: "outgoing", tenantId: "shop" });
  });
  expect(errors).toHaveLength(1);
});
