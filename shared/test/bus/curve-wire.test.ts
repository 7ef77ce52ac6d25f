import { expect, test, vi } from "vitest";
import { freePort } from "@rs-agent/kit/free-port.ts";
import { createHandler, openPool, openWorker, untilFree, virusTask } from "./pool-and-worker.ts";
import { makeKeyFolder, openKeyedPool, openKeyedWorker } from "./keyed-actors.ts";
import { openWiretap } from "./wiretap.ts";

const askedFor = "marker-of-a-secret-mail";
const found = "Marker.Of-A-Secret-Finding";

/**
 * Sends one mail and its finding back through two taps; returns what they caught in each direction.
 */
async function capture(withKeys: boolean) {
  const folder = makeKeyFolder();
  const { pool, results } = withKeys ? await openKeyedPool(folder) : await openPool();
  const handle = () => Promise.resolve({ output: { kind: "infected" as const, names: [found] } });
  const handler = createHandler({ handle });
  const port = await freePort();
  const mailbox = await openWiretap(`tcp://127.0.0.1:${String(port)}`);
  const resultSocket = await openWiretap(pool.endpoint);
  const env = {
    BUS_BIND: `tcp://127.0.0.1:${String(port)}`,
    BUS_ADVERTISE: mailbox.endpoint,
  };
  if (withKeys) openKeyedWorker(folder, resultSocket.endpoint, "av-worker", { env, handler });
  else openWorker(resultSocket.endpoint, { env, handler });
  await untilFree(pool);
  const mail = Buffer.from(`Subject: ${askedFor}\r\n\r\n`);
  pool.place("virus", virusTask(mail), mail);
  await vi.waitFor(() => expect(results).toHaveLength(1));
  return { toWorker: mailbox.captured(), toDispatcher: resultSocket.captured() };
}

test("without keys a capture of the bus shows mail and finding", async () => {
  const { toWorker, toDispatcher } = await capture(false);
  expect(toWorker.includes(askedFor)).toBe(true);
  expect(toDispatcher.includes(found)).toBe(true);
});

test("with keys it shows neither, nor a head", async () => {
  const { toWorker, toDispatcher } = await capture(true);
  for (const bytes of [toWorker, toDispatcher]) {
    expect(bytes.length).toBeGreaterThan(1_000);
    expect(bytes.includes("CURVE")).toBe(true);
    for (const text of [askedFor, found, "heartbeat", "example.org", "virus-1"]) {
      expect(bytes.includes(text)).toBe(false);
    }
  }
});
