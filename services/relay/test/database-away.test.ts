import { randomUUID } from "node:crypto";
import { systemClock } from "@rs-agent/shared/clock.ts";
import { loadConfig } from "@rs-agent/shared/config.ts";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import { openDatabase } from "@rs-agent/shared/store/database.ts";
import { expect, it, onTestFinished, vi } from "vitest";
import { startMongoDbProxy } from "../../../test/support/mongodb-proxy/mongodb-proxy.ts";
import { relayConfigSchema } from "../src/config.ts";
import { startRelay } from "../src/relay.ts";
import { mailIn, readyMail, routeTo } from "./ready-mail.ts";
import { ownDatabase, quickSettings, runningSink } from "./running-relay.ts";
import { mongodbUri } from "../../../test/support/test-mongodb.ts";

it("does not forget an outcome while the database is away, and sends nothing twice", async () => {
  const db = `relay-${randomUUID()}`;
  const database = await ownDatabase(db);
  const proxy = await startMongoDbProxy(mongodbUri());
  onTestFinished(() => proxy.close());

  const arrived = Promise.withResolvers<undefined>();
  const answer = Promise.withResolvers<undefined>();
  const sink = await runningSink({
    answer: ({ step }) => {
      if (step !== "mail") return undefined;
      arrived.resolve(undefined);
      return answer.promise;
    },
  });
  const { uri } = proxy;
  const config = loadConfig(relayConfigSchema, { ...quickSettings(db), MONGODB_URI: uri });
  const log = createSilentLogger();
  const through = await openDatabase({ uri, db, clock: systemClock, log });
  const relay = await startRelay({ config, database: through, clock: systemClock, log });
  onTestFinished(() => relay.close());

  const id = await readyMail(database, { route: routeTo(sink.port) });
  await arrived.promise;
  proxy.cut();
  answer.resolve(undefined);
  await vi.waitFor(() => expect(relay.counts.sent).toBe(1));
  expect((await database.mails.get(id))?.state).toBe("relaying");
  proxy.restore();
  const mail = await vi.waitFor(() => mailIn(database, id, "sent"));
  expect(mail.recipients[0]).toMatchObject({ outcome: "sent", attempts: 1 });
  expect(mail.unknown).toBeUndefined();
  const next = await readyMail(database, { route: routeTo(sink.port) });
  await vi.waitFor(() => mailIn(database, next, "sent"));
  expect(sink.delivered).toBe(2);
});
