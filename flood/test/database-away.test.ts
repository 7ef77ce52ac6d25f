import { randomBytes } from "node:crypto";
import { expect, it, onTestFinished } from "vitest";
import { startMongoDbProxy } from "../../test/support/mongodb-proxy/mongodb-proxy.ts";
import { mongodbUri } from "../../test/support/test-mongodb.ts";
import { runFlood } from "../src/flood.ts";
import type { Standing } from "../src/measure/ticker.ts";
import { floodOptions } from "../src/options.ts";
import { liveLine } from "../src/report/live-line.ts";
import { reportText } from "../src/report/text.ts";

it("reports a database that goes away while it waits, and what was seen until then", async () => {
  const proxy = await startMongoDbProxy(mongodbUri());
  onTestFinished(() => proxy.close());
  const separator = proxy.uri.includes("?") ? "&" : "?";
  const uri = `${proxy.uri}${separator}serverSelectionTimeoutMS=500`;
  const db = `flood_${randomBytes(6).toString("hex")}`;
  const given = { to: "mongo", tenants: "a.example", mix: "clean", mails: "5", rate: "50" };
  const options = floodOptions(
    { ...given, check: true, wait: "3s", seed: "1" },
    { smtp: "127.0.0.1:1", database: { uri, db }, processes: [] },
  );
  const seen: Standing[] = [];
  const said: string[] = [];
  const result = await runFlood(options, {
    signal: new AbortController().signal,
    onSecond: (standing) => seen.push(standing),
    say: (text) => {
      said.push(text);
      // Nobody plans these mails, so the run would wait for them.
      if (text.startsWith("waiting until")) proxy.cut();
    },
  });
  expect(result).toMatchObject({
    ended: "the database is away",
    handedIn: { offered: 5, accepted: 5 },
    check: undefined,
  });
  expect(result.unread).toMatch(/^STORE_UNREACHABLE: /);
  const away = seen.find(({ awayMs }) => awayMs !== undefined);
  expect(away === undefined ? "" : liveLine(away)).toContain("DATABASE AWAY");
  expect(said.at(-1)).toBe("reading the records");
  const text = reportText(result);
  expect(text).toMatch(/^ended +the database is away$/m);
  expect(text.replaceAll(/\s+/g, " ")).toContain(
    "check NOT MADE, the records cannot be read: STORE",
  );
});
