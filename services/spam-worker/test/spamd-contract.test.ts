import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { systemClock } from "@rs-agent/shared/clock.ts";
import { parseEngineAddress } from "@rs-agent/shared/engines/engine-address.ts";
import { gtube } from "../src/canary.ts";
import { createSpamdClient, type SpamdClient } from "../src/spamd/client.ts";
import { createSpamdEngine } from "../src/spamd/engine.ts";
import type { FakeEngine } from "./fake-engine.ts";
import { startFakeSpamd } from "./fake-spamd.ts";

const signal = new AbortController().signal;
const limits = { timeoutMs: 20_000, connectTimeoutMs: 5_000, maxReplyBytes: 1_000_000 };

function mailOf(text: string): Buffer[] {
  const head = [
    "From: a@example.com",
    "To: b@example.com",
    `Date: ${new Date().toUTCString().replace("GMT", "+0000")}`,
    `Message-ID: <${Math.random().toString(36).slice(2)}.contract@example.com>`,
    "Subject: a contract",
  ];
  return [Buffer.from(`${head.join("\r\n")}\r\n\r\n`), Buffer.from(`${text}\r\n`)];
}

describe.each(["fake", "real"])("the %s spamd", (which) => {
  let fake: FakeEngine | undefined;
  let spamd: SpamdClient;
  const where = () => parseEngineAddress(fake?.address ?? inject("spamd"));

  beforeAll(async () => {
    if (which === "fake") fake = await startFakeSpamd();
    spamd = createSpamdClient({ address: where(), ...limits });
  });

  afterAll(async () => {
    await fake?.close();
  });

  it("answers PING", async () => {
    expect(await spamd.ping({ signal })).toEqual({ kind: "answer" });
  });

  it("calls GTUBE spam and an ordinary mail ham", async () => {
    const spam = await spamd.check(mailOf(gtube()), { signal });
    expect(spam).toMatchObject({ kind: "answer", spam: true, required: 5 });
    const ham = await spamd.check(mailOf("How are you?"), { signal });
    expect(ham).toMatchObject({ kind: "answer", spam: false });
  });

  it("names the rules by SYMBOLS", async () => {
    const answer = await spamd.symbols(mailOf(gtube()), { signal });
    expect(answer).toMatchObject({
      spam: true,
      rules: expect.arrayContaining([{ name: "GTUBE" }]) as unknown,
    });
  });

  it("gives the rules' points by REPORT", async () => {
    const answer = await spamd.report(mailOf(gtube()), { signal });
    expect(answer).toMatchObject({
      spam: true,
      rules: expect.arrayContaining([{ name: "GTUBE", score: 1000 }]) as unknown,
    });
  });

  it("tells its version by HEADERS", async () => {
    const answer = await spamd.headers(mailOf("How are you?"), { signal });
    if (answer.kind === "failed") throw new Error(answer.detail);
    expect(answer.headers.toString("latin1")).toMatch(/^X-Spam-Checker-Version: SpamAssassin 4/m);
  });

  it("learns, forgets, and says when there was nothing to do", async () => {
    const mail = mailOf("Learn me.");
    const tell = async (lesson: Parameters<SpamdClient["tell"]>[1]) =>
      spamd.tell(mail, lesson, { signal });
    expect(await tell({ action: "learn", class: "spam" })).toMatchObject({ didSet: ["local"] });
    expect(await tell({ action: "learn", class: "spam" })).toMatchObject({ didSet: [] });
    expect(await tell({ action: "forget" })).toMatchObject({ didRemove: ["local"] });
    expect(await tell({ action: "forget" })).toMatchObject({ didRemove: [] });
  });

  it("passes the canaries", async () => {
    const engine = createSpamdEngine({ address: where(), clock: systemClock, ...limits });
    expect(await engine.putCanariesThrough({ signal, timeoutMs: 20_000 })).toMatchObject({
      kind: "able",
      engine: { name: "spamd", version: expect.stringMatching(/^4\.\d+/) as unknown },
    });
  });
});

describe("the real spamd", () => {
  it("applies the preferences of the user that it is asked for", async () => {
    const dir = join(inject("spamdUsersDir"), "strict@example.com");
    await mkdir(dir, { recursive: true });
    await writeFile(join(dir, "user_prefs"), "required_score 2.5\n");
    const spamd = createSpamdClient({ address: parseEngineAddress(inject("spamd")), ...limits });
    const mail = mailOf("Whose rules?");
    const strict = await spamd.check(mail, { signal, user: "strict@example.com" });
    const other = await spamd.check(mail, { signal, user: "other@example.com" });
    expect(strict).toMatchObject({ required: 2.5 });
    expect(other).toMatchObject({ required: 5 });
  });
});
