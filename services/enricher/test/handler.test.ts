import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import type { TaskHandler } from "@rs-agent/shared/worker/handler.ts";
import { createEnrichHandler } from "../src/handler.ts";
import { deps, plainMail, taskFor } from "./mail-to-enrich.ts";

const signal = new AbortController().signal;
const context = { signal, log: createSilentLogger() };
const task = taskFor(plainMail, [{ kind: "verdict-headers" }]);
let folder: string;
let handler: TaskHandler;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "enricher-handler-"));
  handler = createEnrichHandler({ ...deps, concurrency: 3 });
});
afterAll(async () => {
  await handler.close();
  await rm(folder, { recursive: true });
});

describe("createEnrichHandler", () => {
  it("gives the same result for bytes and for a file of the spool", async () => {
    const path = join(folder, "mail");
    await writeFile(path, plainMail);
    const fromBytes = await handler.handle(task, { kind: "bytes", bytes: plainMail }, context);
    const file = { kind: "file", path, size: plainMail.length } as const;
    expect(await handler.handle(task, file, context)).toEqual(fromBytes);
    expect(fromBytes.output).toMatchObject({ kind: "enriched" });
  });

  it.each([
    ["another file of the same size", Buffer.alloc(plainMail.length, "x")],
    ["a shorter file", plainMail.subarray(1)],
  ])("refuses %s than the task names", async (_, bytes) => {
    const path = join(folder, "other");
    await writeFile(path, bytes);
    const file = { kind: "file", path, size: bytes.length } as const;
    await expect(handler.handle(task, file, context)).rejects.toMatchObject({
      code: "STORE_BODY_CORRUPT",
    });
  });

  it("says that a spool file is missing", async () => {
    const file = { kind: "file", path: join(folder, "missing"), size: 1 } as const;
    await expect(handler.handle(task, file, context)).rejects.toMatchObject({
      code: "STORE_BODY_MISSING",
    });
    expect(await handler.seesFile?.(join(folder, "missing"), signal)).toBe(false);
    expect(await handler.seesFile?.(join(folder, "mail"), signal)).toBe(true);
  });

  it("is able once its canary was changed, signed and verified", async () => {
    expect(await handler.canary(signal)).toMatchObject({ able: true });
    expect(handler.concurrency()).toBe(3);
  });

  it("is unable, and says why, if the canary cannot be enriched", async () => {
    const broken = {
      of: () => {
        throw new Error("no GeoIP");
      },
      close: () => undefined,
    };
    const unableHandler = createEnrichHandler({ ...deps, countries: broken, concurrency: 1 });
    expect(await unableHandler.canary(signal)).toEqual({
      able: false,
      reason: "the canary failed: no GeoIP",
    });
    const late = createEnrichHandler({ ...deps, maxHeaderBytes: 10, concurrency: 1 });
    expect(await late.canary(signal)).toMatchObject({ able: false });
  });
});
