import { once } from "node:events";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { startSpamd } from "@rs-agent/kit/engines/spamd.ts";
import { systemClock } from "@rs-agent/shared/clock.ts";
import { parseEngineAddress } from "@rs-agent/shared/engines/engine-address.ts";
import { EnginePool } from "@rs-agent/shared/engines/engine-pool.ts";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import { gtube } from "../src/canary.ts";
import { createSpamdEngine } from "../src/spamd/engine.ts";
import { mailToJudge } from "./engine-kit.ts";

const signal = new AbortController().signal;
const mail = mailToJudge(`Subject: x\r\n\r\n${gtube()}\r\n`);

it("I2: a real spamd whose only child others keep busy gets no mail until it is free again", async () => {
  const dir = await mkdtemp(join(tmpdir(), "rs-agent-test-spamd-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  await chmod(dir, 0o755);
  const spamd = await startSpamd({ dir, children: 1 });
  onTestFinished(() => spamd.stop());
  const client = createSpamdEngine({
    address: parseEngineAddress(spamd.address),
    clock: systemClock,
    timeoutMs: 30_000,
    connectTimeoutMs: 5_000,
    maxReplyBytes: 100_000,
  });
  const deps = { clock: systemClock, log: createSilentLogger() };
  const pool = new EnginePool([client], { placesEach: 1, canaryTimeoutMs: 10_000 }, deps);
  onTestFinished(() => pool.close());
  expect(await pool.canary(signal)).toMatchObject({ able: true });

  // A request that does not end: the child waits for the rest.
  const other = connect(spamd.port, "127.0.0.1");
  onTestFinished(() => void other.destroy());
  await once(other, "connect");
  other.write("CHECK SPAMC/1.5\r\nContent-length: 1000\r\n\r\nSubject: slow\r\n");
  const { finding } = await pool.ask(mail, { signal, timeoutMs: 1_000, accountMs: 2_000 });
  expect(finding).toMatchObject({ kind: "unchecked", reason: "time-out" });
  await expect.poll(() => pool.concurrency()).toBe(0);
  expect(pool.reasons()).toMatch(/no reply from spamd/);

  other.destroy();
  await expect.poll(() => pool.concurrency()).toBe(1);
  const { finding: after } = await pool.ask(mail, {
    signal,
    timeoutMs: 30_000,
    accountMs: 2_000,
  });
  expect(after).toMatchObject({ kind: "spam" });
});
