import { describe, expect, it, vi } from "vitest";
import type { CheckTask } from "@rs-agent/shared/bus/wire.ts";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import type { TaskHandler } from "@rs-agent/shared/worker/handler.ts";
import { openBench, tenant, type Bench } from "./in-process.ts";

/** Mail for bob may go to any engine; mail for eve's domain must go to rspamd. */
const policy = `
default:
  virus: off
  changes: { strip: off, verdict-headers: off, geoip: off }
domains:
  other.acme.example:
    spam: { engine: rspamd }
${tenant}`;

/** A spam-worker with this engine, and what it was asked. */
function spamWorker(bench: Bench, engine: string) {
  const asked: CheckTask<"spam">[] = [];
  const handle: TaskHandler["handle"] = (task) => {
    asked.push(task as CheckTask<"spam">);
    return Promise.resolve({ output: { kind: "ham", score: 0, required: 5, rules: [] } });
  };
  const ability = () => ({ able: true, engine: { name: engine, version: "1" } }) as const;
  bench.worker("spam", { handle, ability, id: `spam-${engine}` });
  return asked;
}

async function openNamed() {
  const bench = await openBench();
  await bench.policy(policy);
  const log = createSilentLogger();
  const warn = vi.spyOn(log, "warn");
  await bench.dispatcher({}, { log });
  return { bench, warn };
}

const toRspamd = { recipients: ["eve@other.acme.example"] };
const ready = async (bench: Bench, ids: readonly string[]) => {
  for (const id of ids) {
    await vi.waitFor(async () => expect((await bench.get(id)).state).toBe("ready"));
  }
};

describe("a policy that names the spam engine", () => {
  it("has its mail checked by a worker with that engine, while others take the rest", async () => {
    const { bench } = await openNamed();
    const spamd = spamWorker(bench, "spamd");
    const rspamd = spamWorker(bench, "rspamd");
    const named = await Promise.all(Array.from({ length: 30 }, () => bench.mail(toRspamd)));
    const any = await Promise.all(Array.from({ length: 30 }, () => bench.mail()));
    await ready(bench, [...named, ...any]);
    const byRspamd = new Set(rspamd.map(({ mailId }) => mailId));
    for (const id of named) expect(byRspamd).toContain(id);
    expect(spamd.map(({ mailId }) => mailId).filter((id) => named.includes(id))).toEqual([]);
    const [first = ""] = named;
    expect((await bench.get(first)).verdicts.spam).toMatchObject({
      engine: { name: "rspamd" },
      worker: "spam-rspamd",
    });
  });

  it("I2: makes it wait for that engine, says so, delays nothing else, and goes on once the engine is there", async () => {
    const { bench, warn } = await openNamed();
    spamWorker(bench, "spamd");
    const named = await Promise.all(Array.from({ length: 40 }, () => bench.mail(toRspamd)));
    const any = await Promise.all(Array.from({ length: 10 }, () => bench.mail()));
    await ready(bench, any);
    const [first = ""] = named;
    await vi.waitFor(async () => {
      const waiting = await bench.get(first);
      expect(waiting).toMatchObject({ state: "processing", next: "spam:rspamd" });
      expect(waiting.lease).toBeUndefined();
      expect(waiting.verdicts.spam?.finding).toEqual({
        kind: "unchecked",
        reason: "engine-away",
        detail: "no spam worker with rspamd is able",
      });
      expect(waiting.reason).toContain("no spam worker with rspamd is able");
    });
    expect(warn).toHaveBeenCalledWith(
      { task: "spam", engine: "rspamd", workers: ["spam-spamd: spamd"] },
      "mail waits: no spam worker with rspamd is able",
    );
    spamWorker(bench, "rspamd");
    await ready(bench, named);
  });

  it("sends the mail to another engine when it names another one", async () => {
    const { bench } = await openNamed();
    spamWorker(bench, "spamd");
    const id = await bench.mail(toRspamd);
    await vi.waitFor(async () => expect((await bench.get(id)).next).toBe("spam:rspamd"));
    await bench.policy(policy.replace("engine: rspamd", "engine: spamd"));
    await ready(bench, [id]);
    expect((await bench.get(id)).verdicts.spam).toMatchObject({ engine: { name: "spamd" } });
  });
});
