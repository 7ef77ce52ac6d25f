import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { runChaos } from "../src/chaos.ts";

const seed = 20_270_101;

it("I1, I2, I8: no mail of 500 is lost, unscanned or silently sent twice under 20 faults", async () => {
  const events: string[] = [];
  const { because, findings, folder, ...result } = await runChaos({
    mails: 500,
    kills: 20,
    seed,
    runDir: mkdtempSync(join(tmpdir(), "rs-agent-chaos-")),
    report: () => undefined,
    onEvent: (text) => events.push(text),
    signal: new AbortController().signal,
  });
  // If it does not hold, this names the folder with the stories.
  expect({ because, folder }, events.join("\n")).toEqual({ because: [], folder: undefined });
  expect(result).toMatchObject({ holds: true, accepted: 500, lost: 0, unscanned: 0 });
  expect(result.kills.total).toBe(20);
  expect(Object.values(findings).every((count) => count === 0)).toBe(true);
}, 1_800_000);
