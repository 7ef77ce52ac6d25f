import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { gtube } from "../src/canary.ts";
import type { SpamEngine } from "../src/spam-engine.ts";
import { engineKits, findingOf, mailToJudge } from "./engine-kit.ts";
import type { FakeEngine } from "./fake-engine.ts";

const signal = new AbortController().signal;
const asked = { signal, timeoutMs: 20_000 };
const limits = { timeoutMs: 20_000, connectTimeoutMs: 5_000, maxReplyBytes: 1_000_000 };

const cases = engineKits.flatMap((kit) =>
  (["fake", "real"] as const).map((which) => ({ kit, which, name: kit.name })),
);

describe.each(cases)("the $which $name", ({ kit, which }) => {
  let fake: FakeEngine | undefined;
  let engine: SpamEngine;

  beforeAll(async () => {
    if (which === "fake") fake = await kit.startFake();
    engine = kit.connect(fake?.address ?? inject(kit.name), limits);
  });

  afterAll(async () => {
    engine.close();
    await fake?.close();
  });

  function mailOf(text: string) {
    const head = [
      "From: Anna <a@example.com>",
      "To: Ben <b@example.com>",
      `Date: ${new Date().toUTCString().replace("GMT", "+0000")}`,
      `Message-ID: <${Math.random().toString(36).slice(2)}.contract@example.com>`,
      "Subject: a contract",
    ];
    return mailToJudge(`${head.join("\r\n")}\r\n\r\n${text}\r\n`);
  }

  it("calls GTUBE spam, by its rule", async () => {
    const finding = findingOf(await engine.ask(mailOf(gtube()), asked));
    expect(finding).toMatchObject({
      kind: "spam",
      rules: expect.arrayContaining([expect.objectContaining({ name: "GTUBE" })]) as unknown,
    });
    if (finding.kind === "spam") expect(finding.score).toBeGreaterThanOrEqual(finding.required);
  });

  it("calls an ordinary mail ham, with rules and their points", async () => {
    const finding = findingOf(await engine.ask(mailOf("How are you?"), asked));
    if (finding.kind !== "ham") throw new Error(JSON.stringify(finding));
    expect(finding.score).toBeLessThan(finding.required);
    for (const rule of finding.rules) expect(rule.score).toBeTypeOf("number");
  });

  it("judges an empty mail, and one of 8-bit bytes", async () => {
    for (const raw of [Buffer.alloc(0), Buffer.from([0x80, 0xff, 0x00, 0x0d, 0x0a])]) {
      const finding = findingOf(await engine.ask(mailToJudge(raw), asked));
      expect(finding.kind).toMatch(/^(ham|spam)$/);
    }
  });

  it("passes the canaries and tells its version", async () => {
    expect(await engine.putCanariesThrough(asked)).toMatchObject({
      kind: "able",
      engine: { name: kit.name, version: expect.stringMatching(/^\d+\.\d+/) as unknown },
    });
  });
});
