import { ObjectId } from "mongodb";
import { afterAll, describe, expect, it, vi } from "vitest";
import { mailIdOf } from "@rs-agent/shared/store/adoption.ts";
import { parseSources } from "@rs-agent/shared/store/source-config.ts";
import { people, samples } from "../start/samples/samples.ts";
import { isAsExpected, resultOf } from "../start/src/result.ts";
import { awaitFates, sendSamples } from "../start/src/sample-run.ts";
import { textMail } from "./support/smtp-client.ts";
import { useWholeSystem } from "./support/use-system.ts";

const inbox = `inbox_${new ObjectId().toHexString()}`;
const sources = JSON.stringify([
  { name: "native", db: inbox, collection: "mail", form: "native", mode: "deliver" },
]);

describe("with the change stream disabled", () => {
  const whole = useWholeSystem({
    env: { CHANGE_STREAM: "0" },
    serviceEnv: { dispatcher: { SOURCES: sources } },
  });

  afterAll(() => whole().client.db(inbox).dropDatabase());

  it("I6: every sample mail meets its fate by the timer alone", async () => {
    const { database, system } = whole();
    const { signal } = new AbortController();
    const sent = await sendSamples(samples(), system.smtp);
    const fates = await awaitFates(sent, database.mails, { signal, report: () => undefined });
    const result = resultOf(fates, await database.mails.countOutcomes());
    expect(result.conservation).toMatchObject({ holds: true, open: 0 });
    expect(isAsExpected(result)).toBe(true);
  });

  it("I6: inserted mail is found by the timer alone", async () => {
    const record = {
      _id: new ObjectId(),
      state: "incoming",
      smtp: { mailFrom: people.jonas, rcptTo: [people.anna] },
      body: textMail("inserted"),
    };
    await whole().client.db(inbox).collection("mail").insertOne(record);
    const [native] = parseSources(sources);
    const id = native === undefined ? "" : mailIdOf(native, record._id);
    await vi.waitFor(() => whole().record(id));
    expect(await whole().ended(id)).toMatchObject([{ state: "sent" }]);
  });
});
