import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { MongoClient } from "mongodb";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { startMongoDb, type PrivateMongoDb } from "@rs-agent/kit/mongodb/mongodb.ts";
import { createSilentLogger } from "../../src/logger.ts";
import { createClient } from "../../src/store/connection.ts";
import { createStores, type Database } from "../../src/store/database.ts";
import { openStore } from "./test-database.ts";
import { newMail } from "../../../test/support/new-mail.ts";

/**
 * The driver gives up a connection that is silent for `socketTimeoutMS`, and sends the write again
 * on another one. If the server stood still meanwhile and goes on, it gets both tries.
 */

const name = "second_try";
let folder = "";
let server: PrivateMongoDb;
let client: MongoClient;
let opened: Database;
let store: Pick<Database, "mails">;
let connections = 0;
const idle = 4;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rs-agent-test-second-try-"));
  // A server of its own, because it is stopped and others must not wait for that.
  server = await startMongoDb({ dataDir: folder, report: () => undefined });
  opened = await openStore(server.uri, name);
  // Only the write itself finds out that the server stands still.
  const options = `socketTimeoutMS=1500&heartbeatFrequencyMS=300000&minPoolSize=${idle}`;
  client = createClient(`${server.uri}&${options}`);
  client.on("connectionReady", () => (connections += 1));
  client.on("connectionClosed", () => (connections -= 1));
  const { clock } = opened;
  store = createStores({ client, name, clock, log: createSilentLogger(), lingerMs: 2 });
});

afterAll(async () => {
  process.kill(server.pid, "SIGCONT");
  await client.close();
  await opened.close();
  await server.stop();
  await rm(folder, { recursive: true, force: true });
});

/** Does something while the server stands still, until the driver sends it a second time. */
async function whileItStandsStill<T>(work: () => Promise<T>): Promise<T> {
  // Idle connections, so that the second try goes out immediately.
  await client.connect();
  await vi.waitFor(() => expect(connections).toBeGreaterThanOrEqual(idle));
  process.kill(server.pid, "SIGSTOP");
  try {
    const first = once(client, "connectionCheckedOut");
    const done = work();
    await first;
    await Promise.race([once(client, "connectionCheckedOut"), done]);
    process.kill(server.pid, "SIGCONT");
    return await done;
  } finally {
    process.kill(server.pid, "SIGCONT");
  }
}

it("I1: a server that stood still runs both tries of a write, and what is there is recognized as ours", async () => {
  for (let round = 1; round <= 6; round++) {
    const bodies = await Promise.all(
      Array.from({ length: 30 }, (_, place) =>
        opened.bodies.put(Buffer.from(`Subject: ${round} ${place}\r\n\r\n`)),
      ),
    );
    const mails = bodies.map((body) => newMail({ body }));
    const insertAll = () => Promise.all(mails.map((mail) => store.mails.insert(mail)));
    const found = await whileItStandsStill(insertAll).catch(() =>
      // On a busy machine the second try may have been too late as well: then the answer is open.
      vi.waitFor(insertAll),
    );
    expect(found.filter((each) => each !== "inserted")).toEqual([]);
    for (const { _id, body } of mails) {
      expect((await opened.mails.get(_id))?.body.id).toBe(body.id);
      await opened.bodies.get(body);
    }
  }
});
