import { expect, it, vi } from "vitest";
import { openBench, tenant } from "./in-process.ts";

async function heldMail(permanent: boolean) {
  const bench = await openBench();
  await bench.policy(`default: { virus: { enabled: false }, spam: { enabled: false } }\n${tenant}`);
  await bench.dispatcher();
  const output = { kind: "unable" as const, reason: "it has no From", permanent };
  bench.worker("enrich", { handle: () => Promise.resolve({ output }) });
  const id = await bench.mail();
  await vi.waitFor(async () => expect((await bench.get(id)).state).toBe("held"));
  return bench.get(id);
}

it("a mail that cannot be enriched now is held, and tried again within minutes", async () => {
  const mail = await heldMail(false);
  expect(mail).toMatchObject({ reason: "it has no From", next: "retry" });
  expect(mail.heldUntil).toEqual(mail.dueAt);
  expect(mail.recipients.map(({ outcome }) => outcome)).toEqual(["open"]);
});

it("a mail that can never be enriched waits for a person", async () => {
  const mail = await heldMail(true);
  expect(mail.reason).toBe("it has no From");
  expect([mail.next, mail.dueAt, mail.heldUntil]).toEqual([undefined, undefined, undefined]);
  expect(mail.recipients.map(({ outcome }) => outcome)).toEqual(["open"]);
});
