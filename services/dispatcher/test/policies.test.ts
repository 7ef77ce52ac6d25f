import { describe, expect, it } from "vitest";
import { openBench, tenant, type Bench } from "./in-process.ts";
import { RetryableError } from "@rs-agent/shared/errors.ts";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import type { PolicyStore } from "@rs-agent/shared/store/policies.ts";
import { openPolicies } from "@rs-agent/shared/store/policies-in-force.ts";

/** The store, and how often its documents were read. */
function counted(store: PolicyStore) {
  const counts = { reads: 0 };
  const all = () => {
    counts.reads += 1;
    return store.all();
  };
  return { store: { all, version: () => store.version() }, counts };
}

const onOwnChecks = () => Promise.resolve();

async function open(bench: Bench) {
  const { store, counts } = counted(bench.database.policies);
  const log = createSilentLogger();
  const policies = await openPolicies({ store, nextHop: "127.0.0.1:9", onOwnChecks, log });
  const accepts = (address: string) => policies.book().acceptsRecipient(address, "incoming");
  return { policies, counts, accepts };
}

describe("the policies of a dispatcher", () => {
  it("are read once, however often it looks, until they change", async () => {
    const bench = await openBench();
    const { policies, counts, accepts } = await open(bench);
    for (let look = 0; look < 20; look += 1) await policies.refresh();
    expect(counts.reads).toBe(1);
    await bench.policy(tenant.replace("other.acme.example", "new.acme.example"));
    for (let look = 0; look < 20; look += 1) await policies.refresh();
    expect(counts.reads).toBe(2);
    expect(accepts("bob@new.acme.example")).toBe(true);
    expect(accepts("bob@other.acme.example")).toBe(false);
  });

  it("that are wrong are read once too, and the old ones stay in force", async () => {
    const bench = await openBench();
    const { policies, counts, accepts } = await open(bench);
    await bench.database.policies.replace([
      {
        _id: "default",
        scope: "default",
        revision: 0,
        rules: { spam: { threshold: "x" } },
      } as never,
    ]);
    for (let look = 0; look < 20; look += 1) await policies.refresh();
    expect(counts.reads).toBe(2);
    expect(accepts("bob@acme.example")).toBe(true);
    await bench.policy(tenant);
    await policies.refresh();
    expect(counts.reads).toBe(3);
  });

  it("are read again if the database was away in between", async () => {
    const bench = await openBench();
    const { store, counts } = counted(bench.database.policies);
    let isAway = false;
    const all = () =>
      isAway ? Promise.reject(new RetryableError("STORE_UNREACHABLE", "away")) : store.all();
    const log = createSilentLogger();
    const policies = await openPolicies({
      store: { ...store, all },
      nextHop: undefined,
      onOwnChecks,
      log,
    });
    await bench.policy(tenant.replace("other.acme.example", "new.acme.example"));
    isAway = true;
    await expect(policies.refresh()).rejects.toThrow("away");
    isAway = false;
    await policies.refresh();
    expect(counts.reads).toBe(2);
    expect(policies.book().acceptsRecipient("bob@new.acme.example", "incoming")).toBe(true);
  });
});
