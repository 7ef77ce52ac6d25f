import { randomBytes } from "node:crypto";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { systemClock } from "@rs-agent/shared/clock.ts";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import type { PolicyDocument } from "@rs-agent/shared/policy/document.ts";
import { openDatabase } from "@rs-agent/shared/store/database.ts";
import { watchPolicies } from "../src/policies.ts";
import { mongodbUri } from "../../../test/support/test-mongodb.ts";

const tenant = (domain: string): PolicyDocument => ({
  _id: "tenant:acme",
  scope: "tenant",
  revision: 0,
  tenantId: "acme",
  domains: [domain],
  rules: {},
});

/** Policies that look for a change all the time, and how often they looked and read. */
async function open() {
  const log = createSilentLogger();
  const db = `ingest_${randomBytes(5).toString("hex")}`;
  const uri = mongodbUri();
  const database = await openDatabase({ uri, db, clock: systemClock, log });
  const store = database.policies;
  await store.replace([tenant("old.example")]);
  const counts = { looks: 0, reads: 0 };
  const policies = await watchPolicies({
    store: {
      version: () => {
        counts.looks += 1;
        return store.version();
      },
      all: () => {
        counts.reads += 1;
        return store.all();
      },
    },
    refreshMs: 1,
    onHeard: () => undefined,
    log,
  });
  onTestFinished(async () => {
    policies.close();
    await database.close();
  });
  const looks = async (more: number) => {
    const wanted = counts.looks + more;
    await vi.waitFor(() => expect(counts.looks).toBeGreaterThan(wanted));
  };
  const accepts = (address: string) => policies.book().acceptsRecipient(address, "incoming");
  return { store, counts, looks, accepts };
}

describe("the policies of an ingest", () => {
  it("are read once, however often it looks, until they change", async () => {
    const { store, counts, looks, accepts } = await open();
    await looks(20);
    expect(counts.reads).toBe(1);
    await store.replace([tenant("new.example")]);
    await looks(20);
    // A look at the very moment of a change sees half of it, and the next look the other half.
    const reads = counts.reads;
    expect([2, 3]).toContain(reads);
    await looks(20);
    expect(counts.reads).toBe(reads);
    expect(accepts("bob@new.example")).toBe(true);
    expect(accepts("bob@old.example")).toBe(false);
  });

  it("that are wrong are read once too, and the old ones stay in force", async () => {
    const { store, counts, looks, accepts } = await open();
    await store.replace([{ ...tenant("new.example"), rules: { spam: 5 } } as never]);
    await looks(20);
    const reads = counts.reads;
    expect([2, 3]).toContain(reads);
    await looks(20);
    expect(counts.reads).toBe(reads);
    expect(accepts("bob@old.example")).toBe(true);
  });
});
