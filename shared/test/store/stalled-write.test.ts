import { expect, it, onTestFinished, vi } from "vitest";
import { RetryableError } from "../../src/errors.ts";
import { machineMs } from "../../../test/support/machine.ts";
import { startMongoDbProxy } from "../../../test/support/mongodb-proxy/mongodb-proxy.ts";
import { openStore, useDatabase } from "./test-database.ts";

const database = useDatabase();

it.each([
  ["bodies in one bulk", 7_900_000],
  ["a body in GridFS", 30_000_000],
])(
  "%s: a database that stands still while it is sent them holds up nothing forever",
  async (_, bytes) => {
    const proxy = await startMongoDbProxy(database().uri);
    const uri = `${proxy.uri}&serverSelectionTimeoutMS=1500&socketTimeoutMS=${machineMs(1_000)}`;
    const store = await openStore(uri, database().name);
    onTestFinished(async () => {
      await store.close();
      await proxy.close();
    });
    const large = Buffer.alloc(bytes, "x");
    proxy.stall();
    // As many as are written at once: more than the socket takes, so that the driver waits.
    const results = await Promise.allSettled([store.bodies.put(large), store.bodies.put(large)]);
    for (const result of results) {
      expect(result.status === "rejected" && result.reason).toBeInstanceOf(RetryableError);
    }
    proxy.restore();
    const ref = await vi.waitFor(() => store.bodies.put(large));
    expect((await store.bodies.get(ref)).equals(large)).toBe(true);
  },
);
