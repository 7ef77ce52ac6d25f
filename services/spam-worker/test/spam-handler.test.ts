import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import type { CheckTask } from "@rs-agent/shared/bus/wire.ts";
import { systemClock } from "@rs-agent/shared/clock.ts";
import { newToken, sha256Hex } from "@rs-agent/shared/ids.ts";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import { settingsHashOf } from "@rs-agent/shared/mail/task-settings.ts";
import type { SpamSettings } from "@rs-agent/shared/checks/spam.ts";
import { spamFindingSchema } from "@rs-agent/shared/checks/spam.ts";
import { EnginePool } from "@rs-agent/shared/engines/engine-pool.ts";
import type { TaskHandler } from "@rs-agent/shared/worker/handler.ts";
import { gtube } from "../src/canary.ts";
import { createSpamHandler } from "../src/spam-handler.ts";
import { engineKits } from "./engine-kit.ts";

const log = createSilentLogger();
const signal = new AbortController().signal;

/** The first Received line is our own, as ingest writes it. */
function rawMail(text: string): Buffer {
  const lines = [
    "Received: from client.example.net (unknown [198.51.100.7])",
    "\tby mx.example.com (rs-agent) with ESMTP id m1;",
    "\tMon, 23 Nov 2026 10:00:00 +0000",
    "Return-Path: <forged@example.org>",
    "From: Anna <anna@example.org>",
    "To: b@example.com",
    "Subject: a test",
    "Message-ID: <handler.test@example.org>",
    "",
    text,
    "",
  ];
  return Buffer.from(lines.join("\r\n"));
}

function taskFor(raw: Buffer, settings: SpamSettings): CheckTask<"spam"> {
  return {
    v: 1,
    from: "dispatcher",
    kind: "task",
    task: "spam",
    session: newToken(),
    taskId: newToken(),
    sequence: 1,
    mailId: "m1",
    attempt: 1,
    sha256: sha256Hex(raw),
    size: raw.length,
    settings,
    settingsHash: settingsHashOf(settings),
    deadlineMs: 30_000,
    smtp: {
      mailFrom: "sender@envelope.example",
      rcptTo: ["b@example.com"],
      client: { address: "198.51.100.7", name: "", helo: "client.example.net" },
    },
  };
}

const settings: SpamSettings = { maxBytes: 500_000, oversize: "unchecked" };

const gtubeFinding = {
  spamd: {
    required: 5,
    rules: expect.arrayContaining([{ name: "GTUBE", score: 1000 }]) as unknown,
  },
  rspamd: { required: 6, score: 15, rules: [{ name: "GTUBE", score: 0 }] },
};

/** Rules of the test's engines that show what the engines learned about the SMTP transaction. */
const testRules = {
  spamd: ["RS_TEST_ENVELOPE_FROM", "RS_TEST_LAST_HOP"],
  rspamd: ["RS_TEST_ENVELOPE_FROM", "RS_TEST_ENVELOPE_RCPT", "RS_TEST_LAST_HOP", "RS_TEST_HELO"],
};

describe.each(engineKits)("with a real $name", (kit) => {
  let handler: TaskHandler;

  beforeAll(async () => {
    const client = kit.connect(inject(kit.name), {
      timeoutMs: 20_000,
      connectTimeoutMs: 1_000,
      maxReplyBytes: 100_000,
    });
    const deps = { clock: systemClock, log };
    const pool = new EnginePool([client], { placesEach: 2 }, deps);
    handler = createSpamHandler({ pool, engine: kit.name, timeoutMs: 20_000 });
    expect(await handler.canary(signal)).toMatchObject({ able: true, engine: { name: kit.name } });
  });

  afterAll(async () => handler.close());

  async function findingOn(raw: Buffer, settings: SpamSettings) {
    const mail = { kind: "bytes", bytes: raw } as const;
    const { output } = await handler.handle(taskFor(raw, settings), mail, { signal, log });
    return spamFindingSchema.parse(output);
  }

  it("finds GTUBE and names its rule with its points", async () => {
    const finding = await findingOn(rawMail(gtube()), settings);
    expect(finding).toMatchObject({
      kind: "spam",
      ...gtubeFinding[kit.name],
    });
  });

  it("has relay rules judge the SMTP client and sender rules the SMTP sender", async () => {
    const finding = await findingOn(rawMail("How are you?"), settings);
    if (finding.kind === "unchecked") throw new Error(finding.detail);
    const names = finding.rules.map((rule) => rule.name);
    expect(names).toEqual(expect.arrayContaining(testRules[kit.name]));
  });

  it("leaves an oversized mail unchecked: too-large", async () => {
    const finding = await findingOn(rawMail("x".repeat(500)), { ...settings, maxBytes: 400 });
    expect(finding).toMatchObject({ kind: "unchecked", reason: "too-large" });
  });

  it("judges an oversized mail by its head if the policy says so, and reports that", async () => {
    const raw = rawMail(`${gtube()}\r\n${"x\r\n".repeat(500)}`);
    const finding = await findingOn(raw, { ...settings, maxBytes: 800, oversize: "head" });
    expect(finding).toMatchObject({
      kind: "spam",
      detail: expect.stringMatching(/^only the first \d+ of \d+ bytes were checked$/) as unknown,
    });
  });

  it("judges a mail in a shared spool by its file, once it has read the spool's canary", async () => {
    const dir = await mkdtemp(join(tmpdir(), "rs-agent-test-spam-spool-"));
    try {
      const raw = rawMail(gtube());
      const path = join(dir, "mail.eml");
      await writeFile(path, raw);
      expect(await handler.seesFile?.(path, signal)).toBe(true);
      expect(await handler.seesFile?.(join(dir, "missing"), signal)).toBe(false);
      const task = taskFor(raw, { maxBytes: 100_000, oversize: "unchecked" });
      const mail = { kind: "file", path, size: raw.length } as const;
      const { output } = await handler.handle(task, mail, { signal, log });
      expect(output).toMatchObject({ kind: "spam" });
    } finally {
      await rm(dir, { recursive: true });
    }
  });

  it("leaves a mail unchecked whose policy asks for another engine", async () => {
    const engine = kit.name === "spamd" ? "rspamd" : "spamd";
    expect(await findingOn(rawMail("How are you?"), { ...settings, engine })).toMatchObject({
      kind: "unchecked",
      reason: "engine-away",
    });
    const own = await findingOn(rawMail("How are you?"), { ...settings, engine: kit.name });
    expect(own.kind).not.toBe("unchecked");
  });
});
