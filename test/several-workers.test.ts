import { describe, expect, it, vi } from "vitest";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import type { CheckKind } from "@rs-agent/shared/checks/verdict.ts";
import { acceptedAll, textMail } from "./support/smtp-client.ts";
import { useWholeSystem } from "./support/use-system.ts";
import { type WholeSystem } from "./support/whole-system.ts";

const troubles: string[] = [];

/** Hands in this many mails at once. */
function handInAll({ system }: WholeSystem, count: number): Promise<string[]> {
  const mails = Array.from({ length: count }, (_, number) => ({ raw: textMail(`mail ${number}`) }));
  return acceptedAll(system.smtp, mails);
}

async function endOf(whole: WholeSystem, ids: readonly string[]): Promise<MailRecord[]> {
  return (await Promise.all(ids.map((id) => whole.ended(id)))).flat();
}

/** The workers that gave these mails their verdicts. */
function workersOf(mails: readonly MailRecord[], check: CheckKind): string[] {
  return [...new Set(mails.flatMap(({ verdicts }) => verdicts[check]?.worker ?? []))].sort();
}

describe("two dispatchers with several workers of a kind", () => {
  const whole = useWholeSystem({
    counts: { dispatcher: 2, "av-worker": 2, "spam-worker": 0 },
    env: { SPAM_CHILDREN: "1" },
    restart: false,
    onTrouble: (text) => troubles.push(text),
  });
  const waitingForSpam = async () =>
    (await whole().database.mails.waiting()).find(({ next }) => next === "spam")?.count ?? 0;

  it("a worker that is started while mail waits gets work within two seconds", async () => {
    const ids = await handInAll(whole(), 12);
    await vi.waitFor(async () => expect(await waitingForSpam()).toBe(12));
    const service = await whole().system.add("spam-worker");
    const { time: readyAt } = await service.untilReady();
    const mails = await endOf(whole(), ids);
    expect(mails.map(({ state }) => state)).toEqual(ids.map(() => "sent"));
    const begun = mails.flatMap(({ verdicts: { spam } }) =>
      spam === undefined ? [] : spam.at.getTime() - spam.workMs,
    );
    expect(begun).toHaveLength(12);
    expect(Math.min(...begun) - Number(readyAt)).toBeLessThan(2_000);
  });

  it("both av-workers and both spam-workers get work", async () => {
    await whole().system.add("spam-worker");
    const mails = await endOf(whole(), await handInAll(whole(), 24));
    expect(mails.map(({ state }) => state)).toEqual(mails.map(() => "sent"));
    expect(workersOf(mails, "virus")).toHaveLength(2);
    expect(workersOf(mails, "spam")).toHaveLength(2);
  });

  it("I1: one that is stopped by SIGTERM finishes what it has, and nothing is lost", async () => {
    const { database, system } = whole();
    const [leaving] = system.processes("spam-worker");
    const name = `spam-${String(whole().log("spam-worker")[0]?.hostname)}-${String(leaving?.pid)}`;
    const ids = await handInAll(whole(), 24);
    await vi.waitFor(async () => {
      const mails = await Promise.all(ids.map((id) => whole().record(id)));
      expect(workersOf(mails, "spam")).toContain(name);
    });
    const stoppedAt = database.clock.now();
    system.kill("spam-worker", "SIGTERM");
    system.kill("av-worker", "SIGTERM");
    await vi.waitFor(() => expect(troubles).toHaveLength(2));
    expect(troubles.map((text) => text.split("\n")[0]).sort()).toEqual([
      "av-worker ended (exit code 0) and is not started again",
      "spam-worker ended (exit code 0) and is not started again",
    ]);
    const mails = await endOf(whole(), ids);
    expect(mails.map(({ state }) => state)).toEqual(ids.map(() => "sent"));
    const finished = mails.filter(
      ({ verdicts: { spam } }) => spam?.worker === name && spam.at > stoppedAt,
    );
    expect(finished).not.toEqual([]);
    expect(mails.filter(({ strikes }) => strikes !== undefined)).toEqual([]);
    const logged = [...whole().log("dispatcher", 0), ...whole().log("dispatcher", 1)];
    expect(logged.filter(({ msg }) => msg === "task lost")).toEqual([]);
    const counted = await database.mails.countOutcomes();
    expect(counted).toMatchObject({ sent: counted.accepted, open: 0, holds: true });
    expect(await whole().relayed()).toHaveLength(counted.accepted);
  });
});
