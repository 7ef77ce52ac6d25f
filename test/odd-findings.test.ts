import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "@rs-agent/shared/clock.ts";
import { loadConfig } from "@rs-agent/shared/config.ts";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import { expect, it, onTestFinished, vi } from "vitest";
import { runCli } from "../cli/test/run-cli.ts";
import { startAvWorker } from "../services/av-worker/src/av-worker.ts";
import { avWorkerConfigSchema } from "../services/av-worker/src/config.ts";
import { markOf, oddNames, writeOddSignatures } from "../services/av-worker/test/odd-signatures.ts";
import { openBench, plainMail, tenant } from "../services/dispatcher/test/in-process.ts";
import { startClamd } from "@rs-agent/kit/engines/clamd.ts";

const log = createSilentLogger();
const clock = systemClock;

async function startOddClamd(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "rs-agent-odd-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  const databaseDir = join(dir, "odd");
  await writeOddSignatures(databaseDir);
  const clamd = await startClamd({ dir, databaseDir });
  onTestFinished(() => clamd.stop());
  return clamd.address;
}

/**
 * As lenient as a policy can be with wrong answers of an engine and with what it cannot look into.
 */
const lenient = `
default:
  spam: off
  virus:
    unchecked: { engine-error: pass, encrypted: pass, limit: pass }
${tenant}`;

it("I2: no policy lets a finding with an odd name leave; a person's release of what the screen shows does", async () => {
  const bench = await openBench();
  await bench.policy(lenient);
  const { endpoint } = await bench.dispatcher();
  bench.worker("enrich");
  const worker = startAvWorker({
    config: loadConfig(avWorkerConfigSchema, {
      BUS_DISPATCHERS: endpoint,
      AV_CLAMD: await startOddClamd(),
      ACTOR_ID: "virus-1",
    }),
    clock,
    log,
  });
  onTestFinished(() => worker.close());
  const ids = await Promise.all(
    oddNames.map((_, at) => bench.mail({ raw: plainMail(markOf(at)) })),
  );
  await vi.waitFor(async () => {
    for (const id of ids) expect((await bench.get(id)).state).toBe("quarantined");
  });

  const cli = (...args: string[]) => runCli(args, bench.settings);
  const { out: listed } = await cli("quarantine", "ls");
  for (const [at, id] of ids.entries()) {
    const mail = await bench.get(id);
    const name = `${oddNames[at] ?? ""}.UNOFFICIAL`.slice(0, 256);
    expect(mail.verdicts.virus?.finding).toEqual({ kind: "infected", names: [name] });
    expect(mail.reason).toBe(`infected: ${name}`);
    const { out: told } = await cli("explain", id);
    expect(told).toContain("state       quarantined: infected:");
    expect(listed + told).not.toMatch(/[^\P{C}\n]/u);
    const shown = new RegExp(`^${id} .*\\n.*\\n((?: +.*\\n)+)`, "m").exec(listed)?.[1] ?? "";
    const released = await cli("quarantine", "release", id, "--override", shown);
    expect(released).toMatchObject({ code: 0, err: "" });
  }
  await vi.waitFor(async () => {
    for (const id of ids) expect((await bench.get(id)).state).toBe("ready");
  });
});
