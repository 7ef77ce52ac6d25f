import type { TestProject } from "vitest/node";
import startClamd from "./clamd.ts";
import startMongoDb from "./mongodb.ts";
import startRspamd from "./rspamd.ts";
import startSpamd from "./spamd.ts";

/** Starts the servers that all tests share, side by side. */
export default async function setUp(project: TestProject): Promise<() => Promise<void>> {
  const starting = [startMongoDb, startClamd, startSpamd, startRspamd].map((start) =>
    start(project),
  );
  const started = await Promise.allSettled(starting);
  const stop = async () => {
    const stops = started.filter((one) => one.status === "fulfilled").map(({ value }) => value);
    await Promise.all(stops.map((each) => each()));
  };
  const failed = started.find((one) => one.status === "rejected");
  if (failed === undefined) return stop;
  await stop();
  throw failed.reason;
}
