import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, inject, it, onTestFinished } from "vitest";
import type { VirusFinding } from "@rs-agent/shared/checks/virus.ts";
import { startClamd } from "@rs-agent/kit/engines/clamd.ts";
import { demandedLines, judgeCanaries, type CanaryRules } from "../src/canaries.ts";
import { canaryKinds, canaryMail, type CanaryKind } from "../src/canary-mails.ts";
import { createPool } from "./clamd-pool.ts";
import { matching } from "./matching.ts";
import { startFakeClamd } from "./fake-clamd.ts";
import { untilTestEnds } from "../../../test/support/until-test-ends.ts";

const never = new AbortController().signal;

async function stateWith(settings: Record<string, string>, rules: Partial<CanaryRules> = {}) {
  const dir = await mkdtemp(join(tmpdir(), "rs-agent-av-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  const clamd = untilTestEnds(await startClamd({ dir, settings }));
  const pool = untilTestEnds(createPool([clamd.address], {}, rules));
  const [state] = await pool.check(never);
  return state;
}

describe("the canaries", () => {
  it("pass on a clamd that is set up correctly", async () => {
    const pool = untilTestEnds(createPool([inject("clamd")]));
    const [state] = await pool.check(never);
    expect(state).toMatchObject({ kind: "able", engine: { name: "clamd" }, blind: [] });
  });

  it("name AlertEncryptedArchive if clamd calls an encrypted zip OK", async () => {
    const state = await stateWith({ AlertEncryptedArchive: "no" });
    expect(state).toMatchObject({
      kind: "unable",
      reason: matching(/AlertEncryptedArchive yes/),
    });
  });

  it("name AlertEncryptedDoc if clamd calls an encrypted PDF OK", async () => {
    const state = await stateWith({ AlertEncryptedDoc: "no" });
    expect(state).toEqual({
      kind: "unable",
      reason:
        "clamd answers OK to an encrypted PDF: set AlertEncryptedDoc yes in clamd.conf (or AV_ALLOW_BLIND=encrypted)",
    });
  });

  it("name all missing lines in one message", async () => {
    const settings = {
      AlertEncryptedArchive: "no",
      AlertEncryptedDoc: "no",
      AlertExceedsMax: "no",
    };
    const state = await stateWith(settings, { allowBlind: ["limit"] });
    expect(state).toMatchObject({
      kind: "unable",
      reason: matching(
        /OK to an encrypted zip and an encrypted PDF: set AlertEncryptedArchive yes and AlertEncryptedDoc yes in clamd.conf \(or AV_ALLOW_BLIND=encrypted\)$/,
      ),
    });
  });

  it.each(["deploy/clamav/clamd.conf", "README.md", "docs/set-up.md", "docs/clamd.md"])(
    "pass with what %s says",
    async (file) => {
      const text = await readFile(new URL(`../../../${file}`, import.meta.url), "utf8");
      for (const line of demandedLines)
        expect(text).toMatch(new RegExp(`^(?:\\| \`)?${line}`, "m"));
    },
  );

  it("name AlertExceedsMax if clamd calls a zip nested too deep OK", async () => {
    const state = await stateWith({ AlertExceedsMax: "no" });
    expect(state).toMatchObject({
      kind: "unable",
      reason: matching(/AlertExceedsMax yes/),
    });
  });

  it("need more than the largest MaxRecursion that clamd accepts", async () => {
    expect(await stateWith({ MaxRecursion: "100" })).toMatchObject({ kind: "able", blind: [] });
  });

  it("pass with AV_ALLOW_BLIND, and every verdict says what is blind", async () => {
    const state = await stateWith(
      { AlertEncryptedArchive: "no", AlertEncryptedDoc: "no", AlertExceedsMax: "no" },
      { allowBlind: ["encrypted", "limit"] },
    );
    expect(state).toMatchObject({ kind: "able", blind: ["encrypted", "limit"] });
  });

  it("notice a clamd that does not look into mail", async () => {
    const state = await stateWith({ ScanMail: "no" });
    expect(state).toMatchObject({ kind: "unable" });
  });

  it("notice a clamd that calls everything clean, or everything a virus", async () => {
    const ids = (text: string) => async () => {
      const fake = untilTestEnds(
        await startFakeClamd({
          fault: ({ id }) => ({ raw: `${id}: stream: ${text}\0` }),
        }),
      );
      const pool = untilTestEnds(createPool([fake.address]));
      return (await pool.check(never))[0];
    };
    expect(await ids("OK")()).toMatchObject({ kind: "unable", reason: matching(/EICAR/) });
    expect(await ids("Everything FOUND")()).toMatchObject({
      kind: "unable",
      reason: matching(/clean/),
    });
  });

  it("end in time if clamd is silent", async () => {
    const fake = untilTestEnds(await startFakeClamd({ fault: () => ({ silence: true }) }));
    const pool = untilTestEnds(createPool([fake.address], { canaryTimeoutMs: 100 }));
    expect(await pool.check(never)).toMatchObject([
      { kind: "unable", reason: matching(/time-out/) },
    ]);
  });

  it("are new bytes each time, because clamd remembers what it found clean", () => {
    for (const kind of canaryKinds) {
      expect(canaryMail(kind, "1").equals(canaryMail(kind, "2"))).toBe(false);
    }
  });
});

describe("judgeCanaries", () => {
  const right: Record<CanaryKind, VirusFinding> = {
    clean: { kind: "clean" },
    eicar: { kind: "infected", names: ["Eicar"] },
    encrypted: { kind: "unchecked", reason: "encrypted" },
    "encrypted-pdf": { kind: "unchecked", reason: "encrypted" },
    limit: { kind: "unchecked", reason: "limit" },
  };
  const signatureAt = new Date("2026-01-01T00:00:00Z");
  const engine = { name: "clamd", version: "1.4.3", signatureAt };
  const rules: CanaryRules = { allowBlind: [], now: () => new Date("2026-01-03T00:00:00Z") };
  const dayMs = 86_400_000;

  it("demands signatures as fresh as configured", () => {
    const judge = (days: number) =>
      judgeCanaries(right, engine, { ...rules, maxSignatureAgeMs: days * dayMs }).kind;
    expect([judge(1), judge(2), judge(3)]).toEqual(["unable", "able", "able"]);
    const undated = { name: "clamd", version: "1.4.3" };
    const state = judgeCanaries(right, undated, { ...rules, maxSignatureAgeMs: dayMs });
    expect(state).toMatchObject({ kind: "unable", reason: matching(/how old/) });
  });

  it("does not take a failure of the engine for blindness", () => {
    const findings = { ...right, limit: { kind: "unchecked", reason: "engine-error" } as const };
    const state = judgeCanaries(findings, engine, { ...rules, allowBlind: ["limit"] });
    expect(state.kind).toBe("unable");
  });
});
