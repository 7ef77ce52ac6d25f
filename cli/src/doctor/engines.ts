import { createCanaryCheck } from "@rs-agent/av-worker/canaries.ts";
import { parseClamdAddress } from "@rs-agent/av-worker/clamd/address.ts";
import * as clamd from "@rs-agent/av-worker/clamd/command.ts";
import { createRspamdEngine } from "@rs-agent/spam-worker/rspamd/engine.ts";
import type { SpamEngine } from "@rs-agent/spam-worker/spam-engine.ts";
import { createSpamdEngine } from "@rs-agent/spam-worker/spamd/engine.ts";
import { systemClock } from "@rs-agent/shared/clock.ts";
import { parseEngineAddress, type EngineAddress } from "@rs-agent/shared/engines/engine-address.ts";
import { messageOf } from "@rs-agent/shared/errors.ts";
import { clamdConfOf, type ClamdConf } from "../clamd-conf.ts";
import { diagnoseLimits } from "../clamd-limits.ts";
import { diagnoseReload, readReloadFacts } from "../clamd-reload.ts";
import { engineText } from "../explain.ts";
import type { PeerConfig } from "../peer-config.ts";
import type { Diagnosis } from "./diagnosis.ts";

const engineTimeoutMs = 5_000;
/** An engine has a few canaries to check, and other mail before them. */
const canaryLimits = {
  timeoutMs: 15_000,
  connectTimeoutMs: engineTimeoutMs,
  maxReplyBytes: 100_000,
};

/** `ownConf`: where a clamd of `npm start` has its configuration. */
export async function diagnoseClamd(
  text: string,
  named: ClamdConf | undefined,
  peers: PeerConfig,
  ownConf?: string,
): Promise<Diagnosis[]> {
  const part = "clamd";
  const signal = AbortSignal.timeout(engineTimeoutMs);
  try {
    const address = parseClamdAddress(text);
    const [version = ""] = await clamd.ask(address, "VERSION", { signal });
    const conf = named ?? (await clamdConfOf(address, ownConf));
    const facts = await readReloadFacts(address, signal, conf);
    return [
      { part, ok: true, found: `${text}: ${version}` },
      await diagnoseCanaries(address, peers),
      diagnoseLimits(conf),
      diagnoseReload(facts),
    ];
  } catch (error) {
    const advice =
      "start clamd (systemctl start clamav-daemon), or set AV_CLAMD; mail waits until then";
    return [{ part, ok: false, found: messageOf(error), advice }];
  }
}

/** Runs the check that an av-worker runs before it takes work. */
async function diagnoseCanaries(
  address: EngineAddress,
  { AV_ALLOW_BLIND: allowBlind }: PeerConfig,
): Promise<Diagnosis> {
  const part = "clamd canaries";
  const check = createCanaryCheck({ allowBlind, now: () => systemClock.now() });
  const state = await check(address, AbortSignal.timeout(canaryLimits.timeoutMs));
  if (state.kind === "able") {
    const { blind = [] } = state;
    const unseen = blind.length === 0 ? "" : `; AV_ALLOW_BLIND: ${blind.join(", ")}`;
    return { part, ok: true, found: `finds EICAR, says where it cannot look${unseen}` };
  }
  const advice = "correct that and restart clamd; no worker takes mail with it until then";
  return { part, ok: false, found: state.reason, advice };
}

export function diagnoseSpamd(address: string): Promise<Diagnosis> {
  const advice = "start spamd (systemctl start spamd), or set SPAM_SPAMD; mail waits until then";
  return diagnoseSpamEngine("spamd", advice, () =>
    createSpamdEngine({ ...toEngine(address), ...canaryLimits }),
  );
}

export function diagnoseRspamd(address: string, config: PeerConfig): Promise<Diagnosis> {
  const advice = "start rspamd (systemctl start rspamd), or set SPAM_RSPAMD; mail waits until then";
  const known = {
    requiredPoints: config.SPAM_RSPAMD_REQUIRED,
    taskTimeoutMs: config.SPAM_RSPAMD_TASK_TIMEOUT_MS,
  };
  return diagnoseSpamEngine("rspamd", advice, () =>
    createRspamdEngine({ ...toEngine(address), ...known, ...canaryLimits }),
  );
}

function toEngine(address: string) {
  return { address: parseEngineAddress(address), clock: systemClock };
}

/** Runs the check that a spam-worker runs before it takes work. */
async function diagnoseSpamEngine(
  part: string,
  advice: string,
  connect: () => SpamEngine,
): Promise<Diagnosis> {
  try {
    const engine = connect();
    const { timeoutMs } = canaryLimits;
    const asked = { signal: AbortSignal.timeout(2 * timeoutMs), timeoutMs };
    const outcome = await engine.putCanariesThrough(asked).finally(() => engine.close());
    const isAble = outcome.kind === "able";
    const words = isAble
      ? `${engineText(outcome.engine)}; GTUBE is spam to it, a clean mail ham`
      : outcome.reason;
    const found = `${engine.address}: ${words}`;
    return isAble ? { part, ok: true, found } : { part, ok: false, found, advice };
  } catch (error) {
    return { part, ok: false, found: messageOf(error), advice };
  }
}
