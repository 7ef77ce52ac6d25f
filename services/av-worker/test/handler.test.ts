import { mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, inject, it, onTestFinished, vi } from "vitest";
import type { CheckTask } from "@rs-agent/shared/bus/wire.ts";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import type { TaskHandler, TaskMail } from "@rs-agent/shared/worker/handler.ts";
import { canaryMail } from "../src/canary-mails.ts";
import { createVirusHandler } from "../src/handler.ts";
import { createPool } from "./clamd-pool.ts";
import { matching } from "./matching.ts";
import { startFakeClamd } from "./fake-clamd.ts";
import { untilTestEnds } from "../../../test/support/until-test-ends.ts";

const never = new AbortController().signal;
const context = { signal: never, log: createSilentLogger() };
const clean = canaryMail("clean", "handler");
const eicar = canaryMail("eicar", "handler");
let dir: string;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "rs-agent-av-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
});

/** The handler looks at nothing else in the head: what it scans comes separately. */
const task = { kind: "task", task: "virus", deadlineMs: 30_000 } as CheckTask<"virus">;

async function handlerAt(addresses: string[], timeoutMs = 5_000): Promise<TaskHandler> {
  const pool = createPool(addresses, { recoveryWaitMs: 50 });
  const handler = createVirusHandler({ pool, timeoutMs });
  onTestFinished(() => handler.close());
  await handler.canary(never);
  return handler;
}

async function file(name: string, bytes: Buffer): Promise<TaskMail & { kind: "file" }> {
  const path = join(dir, name);
  await writeFile(path, bytes);
  return { kind: "file", path, size: bytes.length };
}

describe("the virus handler", () => {
  it("answers a task with the finding and the engine that made it", async () => {
    const handler = await handlerAt([inject("clamd")]);
    const answer = await handler.handle(task, { kind: "bytes", bytes: eicar }, context);
    expect(answer).toMatchObject({
      output: { kind: "infected" },
      engine: { name: "clamd", version: matching(/^1\./) },
    });
    expect(answer).not.toHaveProperty("blind");
  });

  it("scans a spooled mail by its path", async () => {
    const fake = untilTestEnds(await startFakeClamd());
    const handler = await handlerAt([fake.address]);
    const mail = await file("by-path", clean);
    await handler.handle(task, mail, context);
    expect(fake.scans.at(-1)).toMatchObject({ path: mail.path });
    const real = await handlerAt([inject("clamdSocket")]);
    expect(await real.handle(task, await file("v", eicar), context)).toMatchObject({
      output: { kind: "infected" },
    });
  });

  it("streams a spooled mail to a clamd that does not see its path", async () => {
    const fake = untilTestEnds(await startFakeClamd());
    const handler = await handlerAt([fake.address]);
    const answer = await handler.handle(task, await file("missing", eicar), context);
    expect(answer.output).toMatchObject({ kind: "infected" });
    expect(fake.scans.at(-1)?.path).toBeUndefined();
  });

  it("never gives clamd a symbolic link, which it would call OK unseen (I2)", async () => {
    const { path } = await file("target", eicar);
    const link = join(dir, "link");
    await symlink(path, link);
    const handler = await handlerAt([inject("clamd")]);
    const answer = await handler.handle(task, { kind: "file", path: link, size: 1 }, context);
    expect(answer.output).toMatchObject({ kind: "infected" });
  });

  it("gives up at its own deadline and at the task's", async () => {
    const fake = untilTestEnds(
      await startFakeClamd({
        fault: ({ content }) => (content.equals(clean) ? { silence: true } : undefined),
      }),
    );
    const mail: TaskMail = { kind: "bytes", bytes: clean };
    const own = await (await handlerAt([fake.address], 60)).handle(task, mail, context);
    expect(own.output).toMatchObject({ kind: "unchecked", reason: "time-out" });
    const signal = AbortSignal.timeout(60);
    const handler = await handlerAt([fake.address]);
    const asked = await handler.handle(task, mail, { ...context, signal });
    expect(asked.output).toMatchObject({ kind: "unchecked", reason: "time-out" });
  });

  it("is able with one of two clamd, and unable with none, naming both", async () => {
    const gone = await startFakeClamd();
    await gone.close();
    const [one, none] = [
      await handlerAt([gone.address, inject("clamd")]),
      await handlerAt([gone.address, `${dir}/no.sock`]),
    ];
    expect(await one.canary(never)).toMatchObject({ able: true, engine: { name: "clamd" } });
    const ability = await none.canary(never);
    expect(ability).toMatchObject({ able: false });
    expect(ability).toHaveProperty("reason", matching(/no.sock: /));
    expect(ability).toHaveProperty("reason", matching(new RegExp(`${gone.address}: `)));
  });

  it("keeps asking for work a little longer than its last clamd is there", async () => {
    const fake = untilTestEnds(await startFakeClamd());
    const handler = await handlerAt([fake.address]);
    expect(handler.concurrency()).toBe(8);
    await fake.close();
    const answer = handler.handle(task, { kind: "bytes", bytes: clean }, context);
    await vi.waitFor(() => expect(handler.concurrency()).toBe(0));
    expect((await answer).output).toMatchObject({ kind: "unchecked", reason: "engine-away" });
    untilTestEnds(await startFakeClamd({ listen: fake.port }));
    await vi.waitFor(() => expect(handler.concurrency()).toBe(8));
  });

  it("sees a file only if clamd reads it too", async () => {
    const handler = await handlerAt([inject("clamd"), inject("clamdSocket")]);
    const { path } = await file("canary", clean);
    expect(await handler.seesFile?.(path, never)).toBe(true);
    expect(await handler.seesFile?.(join(dir, "nothing"), never)).toBe(false);
    const elsewhere = untilTestEnds(await startFakeClamd());
    const apart = await handlerAt([inject("clamd"), elsewhere.address]);
    expect(await apart.seesFile?.((await file("missing", clean)).path, never)).toBe(false);
  });
});
