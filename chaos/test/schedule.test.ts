import { expect, it } from "vitest";
import { nameOf, scheduleOf } from "../src/faults/schedule.ts";
import { bytesOf } from "../src/mails/mail-bytes.ts";
import { mailKinds, planMail } from "../src/mails/planned-mail.ts";
import { dealt } from "@rs-agent/kit/random.ts";

it("makes the same mails and faults from the same seed, and others from another", () => {
  const date = new Date(0);
  const bytes = (seed: number) => bytesOf(seed, planMail(seed, 7), date);
  expect(bytes(1).equals(bytes(1))).toBe(true);
  expect(bytes(1).equals(bytes(2))).toBe(false);
  expect(scheduleOf(1, 50)).toEqual(scheduleOf(1, 50));
  expect(scheduleOf(1, 50)).not.toEqual(scheduleOf(2, 50));
});

it("deals out by weight, and leaves out nothing while there is room", () => {
  expect(dealt({ a: 8, b: 1, c: 1 }, 10).join("")).toBe("aaaaaaaabc");
  expect(dealt({ a: 80, b: 1, c: 1 }, 10).join("")).toBe("aaaaaaaabc");
  expect(dealt({ a: 1, b: 1, c: 1 }, 2)).toHaveLength(2);
});

it("has faults of every kind in a short run, and of every part in a long one", () => {
  const kinds = new Set(scheduleOf(3, 20).map(({ kind }) => kind));
  expect(kinds.size).toBe(9);
  const names = new Set(scheduleOf(3, 200).map(nameOf));
  for (const part of ["kill-part database", "kill-part clamd", "kill relay", "drain ingest"]) {
    expect(names).toContain(part);
  }
});

it("plans mails of every kind, with canonical line ends and the number in each address", () => {
  const mails = Array.from({ length: 3_000 }, (_, number) => planMail(5, number));
  expect(new Set(mails.map(({ kind }) => kind))).toEqual(new Set(mailKinds));
  for (const mail of mails.slice(0, 100)) {
    const text = bytesOf(5, mail, new Date(0)).toString("latin1");
    expect(text).not.toMatch(/(^|[^\r])\n|\r(?!\n)/);
    expect(text.endsWith("\r\n")).toBe(true);
    for (const { address } of mail.recipients) expect(address).toContain(`.${mail.number}@`);
  }
});
