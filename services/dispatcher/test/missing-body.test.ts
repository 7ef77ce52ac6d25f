import { expect, it, vi } from "vitest";
import { newMailId, sha256Hex } from "@rs-agent/shared/ids.ts";
import type { BodyRef } from "@rs-agent/shared/mail/record.ts";
import { openBench } from "./in-process.ts";

it.each<[string, string, (good: BodyRef) => BodyRef]>([
  ["is nowhere", "STORE_BODY_MISSING", (good) => ({ ...good, id: "nowhere" })],
  [
    "is a file that is nowhere",
    "STORE_BODY_MISSING",
    (good) => ({ ...good, id: "nowhere", form: "gridfs" }),
  ],
  ["is another mail's", "STORE_BODY_CORRUPT", (good) => ({ ...good, sha256: sha256Hex("other") })],
  ["is of another size", "STORE_BODY_CORRUPT", (good) => ({ ...good, size: good.size + 1 })],
])(
  "a mail whose body %s is a dead letter that says %s, and the others go on",
  async (_, code, wrong) => {
    const bench = await openBench();
    const first = await bench.mail();
    const template = await bench.get(first);
    const bad = newMailId();
    await bench.database.mails.insert({ ...template, _id: bad, body: wrong(template.body) });
    const last = await bench.mail();
    await bench.dispatcher();
    for (const kind of ["virus", "spam", "enrich"] as const) bench.worker(kind);
    await vi.waitFor(async () => expect((await bench.get(bad)).state).toBe("dead"));
    expect((await bench.get(bad)).reason).toContain(code);
    for (const id of [first, last]) {
      await vi.waitFor(async () => expect((await bench.get(id)).state).toBe("ready"));
    }
    expect((await bench.database.mails.countOutcomes()).holds).toBe(true);
    expect(bench.asked.filter((line) => line.endsWith(bad))).toEqual([]);
  },
);
